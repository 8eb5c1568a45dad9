"""The console: static files of one page, served as they are (``http_pages``)."""

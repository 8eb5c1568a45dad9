// The console as people use it: opened, clicked and typed into by a headless Chromium.
// Arguments: the page's URL, a folder for the profile and pictures, the browser, and (optional) user:password.
// Prints what was seen, as one JSON value; fails where something does not come.
const { chromium } = require('playwright-core');

const [base, folder, browser, login] = process.argv.slice(2);
const ARGUMENTS = [
  '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync', '--disable-dev-shm-usage',
];

async function main() {
  const [username, password] = (login ?? '').split(':');
  const context = await chromium.launchPersistentContext(`${folder}/profile`, {
    executablePath: browser, args: ARGUMENTS, viewport: { width: 1280, height: 800 },
    httpCredentials: login ? { username, password } : undefined,
  });
  context.setDefaultTimeout(20000);
  const page = await context.newPage();
  const seen = { errors: [], dialogs: 0, foreign: [] };
  page.on('pageerror', (error) => seen.errors.push(error.message));
  page.on('console', (message) => message.type() === 'error' && seen.errors.push(message.text()));
  page.on('dialog', (dialog) => (seen.dialogs++, dialog.dismiss()));
  page.on('request', (request) => request.url().startsWith(base) || seen.foreign.push(request.url()));

  await page.goto(`${base}/`);
  await page.waitForSelector('.state.live');
  seen.who = await page.textContent('#who');
  if (login) {
    await page.waitForSelector('[data-stream="orders"]');
    seen.streams = await page.$$eval('[data-stream]', (rows) => rows.map((row) => row.dataset.stream));
    await page.goto(`${base}/#/connections`);
    seen.refused = await page.textContent('.problem');
    await context.close();
    return seen;
  }

  // streams: a list of very many holds few rows
  seen.summary = await page.textContent('.summary');
  seen.rows = await page.$$eval('[data-stream]', (rows) => rows.length);
  await page.$eval('.list', (list) => (list.scrollTop = list.scrollHeight));
  await page.waitForSelector('[data-stream="s0999"]');
  await page.fill('input[type=search]', 'orders');
  await page.waitForFunction(() => document.querySelectorAll('[data-stream]').length === 1);
  await page.screenshot({ path: `${folder}/streams.png` });

  // messages: old ones, then one that is published by the form
  await page.click('[data-stream="orders"]');
  await page.waitForSelector('tr.message');
  seen.first = await page.textContent('tr.message');
  await page.click('.publish summary');
  await page.fill('.publish input[name=address]', 'orders/eu/console');
  await page.fill('.publish textarea[name=value]', '{"by": "hand"}');
  await page.fill('.publish textarea[name=headers]', 'unit: t');
  await page.click('.publish button[type=submit]');
  await page.waitForFunction(() => document.querySelector('tr.message')?.textContent.includes('orders/eu/console'));
  seen.told = await page.textContent('.publish output');
  await page.click('tr.message');
  await page.waitForSelector('.detail .json-name');
  seen.detail = await page.textContent('td.detail');
  await page.click('button[data-value=hex]');
  await page.waitForSelector('.detail .value.hex');
  seen.hex = await page.textContent('.detail .value');
  await page.click('button[data-value=json]');
  await page.click('.publish summary');
  await page.screenshot({ path: `${folder}/messages.png` });
  await page.click('.more button');
  await page.waitForFunction(() => document.querySelectorAll('tr.message').length > 101);
  seen.older = await page.$$eval('tr.message', (rows) => rows.length);
  await page.selectOption('select[aria-label="Begin at"]', 'earliest');
  await page.waitForFunction(() => document.querySelector('tr.message')?.textContent.includes('orders/eu/0{'));
  await page.click('.more button');
  await page.waitForFunction(() => document.querySelectorAll('tr.message').length === 200);
  seen.oldest = await page.textContent('tr.message >> nth=199');

  // what could be markup is text
  await page.fill('input[type=search] >> nth=0', 'script');
  await page.click('[data-stream]');
  await page.waitForSelector('tr.message');
  await page.click('tr.message');
  await page.waitForSelector('td.detail');
  seen.markup = await page.textContent('td.detail .value');
  seen.scripts = await page.$$eval('main script, main img', (found) => found.length);
  seen.title = await page.title();

  // a live tail, groups, connections
  await page.goto(`${base}/#/live/orders%2F%23`);
  await page.waitForFunction(() => document.querySelector('.messages .empty')?.textContent.includes('Listening'));
  await page.waitForTimeout(300);
  await page.evaluate(() => fetch('/api/publish?address=orders/eu/live', { method: 'POST', body: 'now' }));
  await page.waitForFunction(() => document.querySelector('tr.message')?.textContent.includes('orders/eu/live'));
  await page.goto(`${base}/#/groups`);
  await page.waitForSelector('#groups tr');
  seen.groups = await page.$$eval('#groups tr', (rows) => rows.map((row) => row.textContent));
  await page.screenshot({ path: `${folder}/groups.png` });
  await page.goto(`${base}/#/connections`);
  await page.waitForSelector('#connections tr');
  seen.connections = await page.$$eval('#connections tr', (rows) => rows.map((row) => row.textContent));
  await page.click('.tabs a[href="#/connections/nats"]');
  await page.waitForFunction(() => [...document.querySelectorAll('#connections tr')].every((row) => row.textContent.startsWith('nats')));

  // making one, an error that is told, deleting it, the dark side
  await page.goto(`${base}/#/streams`);
  await page.click('text=New');
  await page.fill('dialog input[name=name]', 'orders');
  await page.click('dialog button[type=submit]');
  await page.waitForFunction(() => document.querySelector('dialog output')?.textContent);
  seen.mistake = await page.textContent('dialog output');
  await page.fill('dialog input[name=name]', 'made/by/hand');
  await page.click('dialog button[type=submit]');
  await page.waitForFunction(() => document.querySelector('.title h1')?.textContent === 'made/by/hand');
  await page.waitForFunction(() => document.querySelector('.messages .empty')?.textContent.includes('Nothing here'));
  await page.click('.title .danger');
  await page.fill('dialog input[name=name]', 'made/by/hand');
  await page.click('dialog button[type=submit]');
  await page.waitForFunction(() => !document.querySelector('dialog') && location.hash === '#/streams');
  const before = await page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await page.click('#theme');
  seen.themed = (await page.evaluate(() => getComputedStyle(document.body).backgroundColor)) !== before;
  await page.screenshot({ path: `${folder}/theme.png` });
  await context.close();
  return seen;
}

main().then((seen) => console.log(JSON.stringify(seen)), (error) => { console.error(error); process.exit(1); });

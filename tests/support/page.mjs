// Opens a page in a real browser and does what a reader does. {"browser", "page", "search", "program", "step"} on stdin;
// prints what there was to see: errors and requests, what the search finds, the dispatch's shader, the time of a redraw.

import { readFileSync } from 'node:fs';
import { chromium } from 'playwright-core';

const FLAGS = ['--headless=new', '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync'];

const asked = JSON.parse(readFileSync(0, 'utf8'));
const browser = await chromium.launch({ executablePath: asked.browser, args: FLAGS });
const page = await browser.newPage({ viewport: { width: 1400, height: 900 } });
page.setDefaultTimeout(30_000);
const errors = [], requests = [];
page.on('pageerror', (error) => errors.push(error.message));
page.on('console', (message) => errors.push(message.text()));
page.on('dialog', (dialog) => { errors.push(dialog.message()); dialog.dismiss(); });
page.on('request', (request) => requests.push(request.url()));

const text = (selector) => page.locator(selector).innerText();
const tab = (name) => page.click(`#tabs button:text-is("${name}")`);
const frames = () => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
const seen = { tabs: {} };

const begin = Date.now();
await page.goto(`file://${asked.page}`);
seen.opened = Date.now() - begin;
for (const name of await page.locator('#tabs button').allInnerTexts()) {
  await tab(name);
  await frames();
  seen.tabs[name] = await text('#view');
}

// search
await page.fill('#search', asked.search);
seen.results = await page.locator('#results button').allInnerTexts();
await page.press('#search', 'Enter');
seen.found = await text('#details');

// the graph: chosen node in the middle, whole, and a node under the mouse
const box = await page.locator('canvas').boundingBox();
await page.mouse.click(box.x + box.width / 2, box.y + box.height / 2);
seen.picked = await text('#details h2');
await page.click('button:text-is("Fit")');
await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
await page.mouse.wheel(0, -200);
await frames();
seen.redraw = Number(await page.locator('canvas').getAttribute('data-milliseconds'));

// a dispatch
await tab('Timeline');
await page.click(`.dispatch[data-program="${asked.program}"][data-step="${asked.step}"]`);
seen.dispatch = await text('#details h2');
seen.details = await text('#details');
seen.shader = await page.locator('#details pre.wgsl').evaluate((pre) => pre.textContent);
seen.highlighted = await page.locator('#details pre.wgsl span.keyword').count();
seen.chosen = await page.locator('.dispatch.chosen').count();
await page.click('#details button:text-is("Show in the graph")');
seen.shown = await text('#details h2');

await browser.close();
console.log(JSON.stringify({ ...seen, errors, requests }));

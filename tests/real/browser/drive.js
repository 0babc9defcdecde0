// Opens pages in headless Chromium and does in them what it is told: a JSON list of steps in, a JSON list of results out.
import { chromium } from "playwright-core";

const { browser: executablePath, steps } = JSON.parse(process.argv[2]);
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu"] });
const results = [];
for (const { page: url, call, words } of steps) {
  const page = await browser.newPage();
  const console_ = [];
  page.on("console", (message) => console_.push(message.text()));
  await page.goto(url);
  let result;
  try {
    result = await page.evaluate(([call, words]) => window[call](...words), [call, words]);
  } catch (error) {
    result = { error: String(error) };
  }
  results.push({ result, console: console_.join("\n") });
  await page.close();
}
await browser.close();
process.stdout.write(JSON.stringify(results));

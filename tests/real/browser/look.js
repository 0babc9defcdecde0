// Looks at podgate's page in headless Chromium as a person does, by keyboard alone where it acts; a JSON task in, what was
// seen as JSON out. Tasks are functions below; none of them asserts anything.
import { chromium } from "playwright-core";

const { browser: executablePath, admin, look, words = {} } = JSON.parse(process.argv[2]);
const home = `http://127.0.0.1:${admin}/`;
const browser = await chromium.launch({ executablePath, args: ["--no-sandbox", "--disable-gpu", "--disable-lcd-text"] });

/** A page at `hash`, with everything that its console said. */
async function open({ hash = "", width = 1280, height = 860, scheme = "light", scale = 1, motion = "no-preference" } = {}) {
  const context = await browser.newContext({
    viewport: { width, height }, colorScheme: scheme, deviceScaleFactor: scale, reducedMotion: motion,
  });
  const page = await context.newPage();
  page.said = [];
  page.on("console", (message) => page.said.push(`${message.type()}: ${message.text()}`));
  page.on("pageerror", (error) => page.said.push(`error: ${error.message}`));
  await page.goto(home + hash);
  await page.waitForFunction(() => document.querySelector(".figure"), null, { timeout: 15_000 });
  return page;
}

const focused = (page) =>
  page.evaluate(() => {
    const el = document.activeElement;
    const ring = getComputedStyle(el);
    return {
      id: el.id, role: el.getAttribute("role"), tag: el.tagName, text: el.textContent.slice(0, 40),
      visible: ring.outlineStyle !== "none" && parseFloat(ring.outlineWidth) > 0,
    };
  });
const overflow = (page) =>
  page.evaluate(() => ({ content: document.documentElement.scrollWidth, window: document.documentElement.clientWidth }));
const shownView = (page) => page.evaluate(() => [...document.querySelectorAll("[role=tabpanel]")].filter((el) => !el.hidden).map((el) => el.id).join());

const tasks = {
  /** From the address bar to an explanation and back, and to a trace, without a pointer. */
  async keyboard() {
    const page = await open();
    await page.waitForSelector(".lane");
    const seen = { stops: [], tabs: [] };
    const tabTo = async (wanted) => {
      for (let at = 0; at < 30; at++) {
        await page.keyboard.press("Tab");
        const stop = await focused(page);
        seen.stops.push(stop);
        if (wanted(stop)) return stop;
      }
      return null;
    };
    seen.first = await tabTo((stop) => stop.role === "tab");
    for (const key of ["ArrowRight", "ArrowRight", "ArrowRight", "ArrowRight", "End", "ArrowLeft", "Home"]) {
      await page.keyboard.press(key);
      seen.tabs.push([key, (await focused(page)).id, await shownView(page)]);
    }
    seen.lanes = await tabTo((stop) => stop.role === "listbox");
    const active = () => page.evaluate(() => {
      const box = document.querySelector("[role=listbox]");
      const row = document.getElementById(box.getAttribute("aria-activedescendant"));
      const [a, b] = [box.getBoundingClientRect(), row.getBoundingClientRect()];
      return { place: +row.getAttribute("aria-posinset"), of: +row.getAttribute("aria-setsize"), label: row.getAttribute("aria-label"), inside: b.top >= a.top - 1 && b.bottom <= a.bottom + 1 };
    });
    seen.rows = [];
    for (const key of ["ArrowDown", "ArrowDown", "PageDown", "End", "ArrowUp", "Home"]) {
      await page.keyboard.press(key);
      await page.waitForTimeout(60);
      seen.rows.push([key, await active()]);
    }
    await page.keyboard.press("Enter");
    await page.waitForSelector(".sheet .runs li");
    seen.sheet = { focus: await focused(page), text: (await page.textContent(".sheet")).slice(0, 2000) };
    await page.keyboard.press("Escape");
    seen.after = { sheets: await page.locator(".sheet").count(), focus: await focused(page) };
    await page.evaluate(() => document.getElementById("tab-node").focus());
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    await tabTo((stop) => stop.id === "trace-id");
    await page.keyboard.type(words.trace);
    await page.keyboard.press("Enter");
    await page.waitForSelector(".verdict");
    seen.verdict = await page.textContent(".verdict");
    seen.said = page.said;
    return seen;
  },

  /** Each view at 200 % of 1280 pixels, at 360 pixels, and in both schemes. */
  async shapes() {
    const seen = [];
    for (const hash of ["#node", "#flow", `#trace/${words.trace}`, "#config"]) {
      for (const [width, scale] of [[640, 2], [360, 2], [1280, 1]]) {
        const page = await open({ hash, width, height: 760, scale });
        await page.waitForTimeout(2500);
        seen.push({ hash, width, ...(await overflow(page)), said: page.said });
        await page.context().close();
      }
    }
    const colors = {};
    for (const scheme of ["light", "dark"]) {
      const page = await open({ scheme, motion: "reduce" });
      colors[scheme] = await page.evaluate(() => {
        const of = getComputedStyle(document.body);
        return { back: of.backgroundColor, ink: of.color, moves: document.getAnimations().length };
      });
      await page.context().close();
    }
    return { seen, colors };
  },

  /** What hostile names became. */
  async hostile() {
    const page = await open({ hash: "#node" });
    await page.waitForSelector(".lane");
    await page.fill("input[type=search]", "evil");
    await page.waitForTimeout(1200);
    await page.locator(".lane").first().click();
    await page.waitForSelector(".sheet .runs li");
    const lanes = await page.evaluate(() => [...document.querySelectorAll(".lane")].map((el) => el.textContent));
    const sheet = await page.textContent(".sheet");
    const wide = [await overflow(page)];
    await page.goto(home + "#trace/" + words.held);
    await page.waitForSelector(".fall, .verdict", { timeout: 10_000 });
    const trace = await page.textContent("#view-trace");
    wide.push(await overflow(page));
    await page.goto(home + "#config");
    await page.waitForSelector(".yaml");
    const config = await page.textContent("#view-config");
    const made = await page.evaluate(() => ({ hacked: window.hacked ?? null, images: document.images.length, scripts: document.scripts.length, frames: document.querySelectorAll("iframe,object,embed").length }));
    return { lanes, sheet, trace, config, made, wide, said: page.said };
  },

  /** How many rows there are, how many of them in the document, and how long frames take while all of them pass by. */
  async crowd() {
    const page = await open({ hash: "#node" });
    await page.waitForSelector(".lane");
    await page.waitForTimeout(1500);
    const seen = await page.evaluate(async () => {
      const box = document.querySelector("[role=listbox]"), frames = [];
      const rows = () => document.querySelectorAll(".lane").length;
      let most = rows(), before = performance.now();
      const end = box.scrollHeight - box.clientHeight;
      for (let step = 0; step <= 120; step++) {
        box.scrollTop = (end * step) / 120;
        await new Promise(requestAnimationFrame);
        frames.push(performance.now() - before);
        before = performance.now();
        most = Math.max(most, rows());
      }
      frames.sort((a, b) => a - b);
      const last = [...document.querySelectorAll(".lane")].map((el) => +el.getAttribute("aria-posinset"));
      return { most, all: +document.querySelector(".lane").getAttribute("aria-setsize"), reached: Math.max(...last), median: frames[60], slowest: frames[120] };
    });
    return { ...seen, said: page.said };
  },

  /** The lane of one container, and what stands above all lanes. */
  async lane() {
    const page = await open({ hash: "#node" });
    await page.waitForSelector(".lane");
    await page.fill("input[type=search]", words.pod);
    await page.waitForTimeout(words.wait ?? 1500);
    const bars = await page.evaluate(() => [...document.querySelectorAll(".lane")].map((el) => [...el.querySelectorAll(".bar")].map((bar) => bar.className)));
    return { bars, notice: await page.textContent("#view-node [role=status]"), live: await page.textContent("#live"), said: page.said };
  },

  /** Pictures for the documents. */
  async pictures() {
    const shots = [];
    const shoot = async (file, options, act) => {
      const page = await open({ height: 800, ...options });
      await page.waitForTimeout(options.wait ?? 14_000);
      if (act) await act(page);
      await page.screenshot({ path: `${words.folder}/${file}` });
      shots.push([file, page.said]);
      await page.context().close();
    };
    await shoot("page-node.png", { hash: "#node", width: 1440, height: 780, wait: 45_000 }, async (page) => {
      await page.locator(".lane").first().click();
      await page.waitForSelector(".sheet .runs li");
      await page.waitForTimeout(400);
    });
    await shoot("page-flow.png", { hash: "#flow", scheme: "dark", height: 1060, wait: 45_000 });
    await shoot("page-trace.png", { hash: "#trace", height: 900, wait: 20_000 }, async (page) => {
      await page.locator("a.row.kept", { hasText: "policy failed" }).first().click();
      await page.waitForSelector(".verdict");
      await page.waitForTimeout(300);
    });
    return shots;
  },
};

try {
  process.stdout.write(JSON.stringify(await tasks[look]()));
} finally {
  await browser.close();
}

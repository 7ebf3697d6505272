// Making parts of the page. Texts are always text: nothing from a service is read as HTML.

export const byId = (id) => document.getElementById(id);

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// Who reads with a keyboard or a screen reader keeps the place: what holds the focus stays as it is.
export function show(place, ...children) {
  if (!place.contains(document.activeElement)) place.replaceChildren(...children);
}

// A region that is read out changes only if what it says does.
export function say(place, text, level = "") {
  if (place.textContent === text && place.dataset.level === level) return;
  place.dataset.level = level;
  place.textContent = text;
}

export function table(caption, columns, rows) {
  const head = columns.map(({ title, kind }) => element("th", { scope: "col", class: kind }, title));
  const body = rows.map((cells) =>
    element(
      "tr",
      {},
      ...cells.map((cell, at) => {
        const { title, kind } = columns[at];
        const options = { class: kind, "data-title": title };
        return at === 0
          ? element("th", { ...options, scope: "row" }, cell)
          : element("td", options, cell);
      }),
    ),
  );
  return element(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    element(
      "table",
      {},
      element("caption", { class: "unseen" }, caption),
      element("thead", {}, element("tr", {}, ...head)),
      element("tbody", {}, ...body),
    ),
  );
}

// A part of a whole, drawn by the browser; the figure stands beside it as text.
export function bar(share, label, level = "") {
  const value = Math.min(1, Math.max(0, share || 0));
  return element("progress", { max: 1, value, class: `bar ${level}`, "aria-label": label });
}

export const nothing = (text) => element("p", { class: "empty" }, text);

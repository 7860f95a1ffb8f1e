// Whatever a person sees on the page with less contrast than WCAG 2.1 (AA) asks for: 4.5 for text, 3 for the edges of controls.
// What is disabled is excepted, as there.
const channels = (text) => {
  const [r, g, b, alpha = 1] = text.match(/[\d.]+/g).map(Number);
  return [r, g, b, alpha];
};
const over = (top, below, opacity = 1) => [0, 1, 2].map((i) => below[i] + (top[i] - below[i]) * top[3] * opacity);
const luminance = (colour) => {
  const [r, g, b] = colour.map((each) => (each / 255 <= 0.04045 ? each / 255 / 12.92 : ((each / 255 + 0.055) / 1.055) ** 2.4));
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
};
const contrast = (one, other) => {
  const [dark, light] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (light + 0.05) / (dark + 0.05);
};
const style = (element, part) => getComputedStyle(element, part);
const lineage = (element) => (element ? [...lineage(element.parentElement), element] : []);
const behind = (element) => lineage(element).reduce((below, each) => over(channels(style(each).backgroundColor), below), [255, 255, 255]);
const opacity = (element) => lineage(element).reduce((product, each) => product * style(each).opacity, 1);
const isSeen = (element) => element.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && !element.closest(":disabled");

const faint = [];
const check = (what, found, least) => found < least && faint.push(`${what}: ${found.toFixed(2)}`);
const text = (what, element, part) => {
  const below = behind(element);
  check(what.slice(0, 40), contrast(over(channels(style(element, part).color), below, opacity(element)), below), 4.5);
};

const words = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (words.nextNode()) {
  const { parentElement: element, textContent } = words.currentNode;
  if (textContent.trim() && isSeen(element) && !element.closest("script, style, svg")) text(textContent.trim(), element);
}
for (const control of document.querySelectorAll("input:not([type=range], [type=file], :checked), textarea, select")) {
  if (!isSeen(control)) continue;
  if (control.placeholder) text(`placeholder ${control.placeholder}`, control, "::placeholder");
  const box = lineage(control).findLast((each) => parseFloat(style(each).borderTopWidth) > 0);
  const around = behind(box.parentElement);
  check(`edge of ${control.ariaLabel ?? control.type}`, contrast(over(channels(style(box).borderTopColor), around), around), 3);
}
return faint;

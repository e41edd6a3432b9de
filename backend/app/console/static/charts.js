"use strict";

// Draws every element with data-chart, which holds the numbers and the texts; colours come from the style sheet.
// As the page writes its figures: in the reader's language.
const figures = new Intl.NumberFormat(document.documentElement.lang);
const isCounted = (wanted) => wanted.series.some((line) => line.type === "bar");
const charts = () => {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  document.querySelectorAll("[data-chart]").forEach((element) => {
    const wanted = JSON.parse(element.dataset.chart);
    const chart = echarts.getInstanceByDom(element) ?? echarts.init(element, null, { renderer: "svg" });
    chart.setOption(
      {
        animation: false,
        aria: { enabled: true },
        grid: { left: 8, right: 8, top: wanted.series.length > 1 ? 36 : 16, bottom: 8, containLabel: true },
        color: [colour("--chart-1"), colour("--chart-2"), colour("--chart-3")],
        textStyle: { color: colour("--tblr-secondary") },
        // Rich text is drawn; the other kind would be styled in a way that the page's policy forbids.
        tooltip: { trigger: "axis", renderMode: "richText" },
        legend: { show: wanted.series.length > 1, top: 0, textStyle: { color: colour("--tblr-secondary") } },
        xAxis: { type: "category", data: wanted.labels, axisLabel: { hideOverlap: true, color: colour("--tblr-secondary") } },
        yAxis: {
          type: "value",
          // Bars are counts: they stand on zero, and there is no half of one.
          scale: !isCounted(wanted),
          minInterval: isCounted(wanted) ? 1 : 0,
          axisLabel: { color: colour("--tblr-secondary"), formatter: (value) => figures.format(value) },
          splitLine: { lineStyle: { color: colour("--tblr-border-color") } },
        },
        series: wanted.series.map((line) => ({
          name: line.name,
          type: line.type ?? "line",
          stack: line.stack,
          step: line.step ? "end" : false,
          showSymbol: false,
          data: line.values,
        })),
      },
      true,
    );
  });
};
document.addEventListener("DOMContentLoaded", charts);
document.addEventListener("htmx:afterSwap", charts);
window.addEventListener("resize", () => {
  document.querySelectorAll("[data-chart]").forEach((element) => echarts.getInstanceByDom(element)?.resize());
});
new MutationObserver(charts).observe(document.documentElement, { attributeFilter: ["data-bs-theme"] });

//! The picture beside the page: an SVG written by hand, for light and for dark readers.
//!
//! Above, bars: mean gap to the optimum, and the gap on the worst trace. Below, lines: hit rate
//! over capacity, on a logarithmic axis, for some traces. velro-cache has the accent colour.

use super::contestants::Side;
use super::results::{Results, Trial};
use crate::page::Machine;
use std::fmt::Write as _;

const WIDTH: f64 = 980.0;
const MARGIN: f64 = 24.0;
const GAP: f64 = 40.0;
const HEADER: f64 = 84.0;
const PANEL: f64 = (WIDTH - 2.0 * MARGIN - GAP) / 2.0;
/// Width of the names at the left of a bar.
const LABELS: f64 = 164.0;
/// Width of the figure at its right.
const VALUES: f64 = 48.0;
const ROW: f64 = 22.0;
const PANEL_HEAD: f64 = 40.0;
const PANEL_FOOT: f64 = 34.0;
const LEGEND: f64 = 62.0;
/// Height of the part of a line panel that has lines in it.
const LINES: f64 = 190.0;
/// Width of the figures at the left of it.
const SCALE: f64 = 34.0;

/// Traces drawn as lines, one of each kind; others take the place of those that are not there.
const SHOWN: [&str; 4] = ["c2k_web12", "email_eu_pair", "arc_OLTP", "lirs_multi3"];

/// Who is drawn as a line: slug and class of its style. The most important comes last, on top.
const DRAWN: [(&str, &str); 6] = [
    ("opt", "bound"),
    ("lru", "lru"),
    ("moka", "moka"),
    ("foyer-s3fifo", "s3fifo"),
    ("quick-cache", "quick"),
    ("adaptive", "ours"),
];

/// Colours that people with any kind of colour blindness can tell apart (Okabe and Ito), the
/// dark ones lightened for dark pages.
const STYLE: &str = "text{font-family:-apple-system,'Segoe UI','Noto Sans',Helvetica,Arial,\
'DejaVu Sans',sans-serif;font-size:12.5px}.h1{font-size:20px;font-weight:600}\
.h2{font-size:14.5px;font-weight:600}.note{font-size:11.5px}.strong{font-weight:600}\
.end{text-anchor:end}.mid{text-anchor:middle}.axis{stroke-width:1.5}\
path{fill:none;stroke-width:2;stroke-linejoin:round}path.ours{stroke-width:3}\
path.bound{stroke-dasharray:5 4}path.lru{stroke-dasharray:2 3}";
const LIGHT: [(&str, &str); 11] = [
    ("page", "#ffffff"),
    ("text", "#1f2328"),
    ("muted", "#59636e"),
    ("grid", "#d8dee4"),
    ("peer", "#8c959f"),
    ("ours", "#0b6e99"),
    ("bound", "#1f2328"),
    ("lru", "#59636e"),
    ("moka", "#b35900"),
    ("s3fifo", "#007a5a"),
    ("quick", "#a8578a"),
];
const DARK: [(&str, &str); 11] = [
    ("page", "#0d1117"),
    ("text", "#e6edf3"),
    ("muted", "#9198a1"),
    ("grid", "#30363d"),
    ("peer", "#7d8590"),
    ("ours", "#4cc2f1"),
    ("bound", "#e6edf3"),
    ("lru", "#9198a1"),
    ("moka", "#f0a04b"),
    ("s3fifo", "#35c99f"),
    ("quick", "#d98fc0"),
];

/// The picture as SVG text. There must be at least one trace.
#[must_use]
pub fn draw(results: &Results, machine: &Machine) -> String {
    let order = results.ranking();
    let mean = |who| results.gap(who).map_or(0.0, |gap| gap.mean);
    let worst = |who| results.gap(who).map_or(0.0, |gap| gap.worst);
    let mut body = bars(results, &order, "Mean gap to the optimum", mean, MARGIN);
    body += &bars(results, &order, "Gap on the worst trace", worst, MARGIN + PANEL + GAP);
    let mut top = HEADER + PANEL_HEAD + order.len() as f64 * ROW + PANEL_FOOT;
    body += &legend(results, top);
    top += LEGEND;
    for (number, trial) in shown(&results.traces).into_iter().enumerate() {
        let column = (number % 2) as f64;
        body += &lines(results, trial, MARGIN + column * (PANEL + GAP), top);
        if number % 2 == 1 {
            top += PANEL_HEAD + LINES + PANEL_FOOT;
        }
    }
    if shown(&results.traces).len() % 2 == 1 {
        top += PANEL_HEAD + LINES + PANEL_FOOT;
    }
    let about = format!(
        "{} traces, everybody at the same exact capacity, {}",
        results.traces.len(),
        machine.date
    );
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {top:.0}\" \
         width=\"{WIDTH}\" height=\"{top:.0}\" role=\"img\" aria-labelledby=\"title\">\n\
         <title id=\"title\">Hit ratio of velro-cache's eviction policies beside others</title>\n\
         <style>{STYLE}{}@media (prefers-color-scheme: dark){{{}}}</style>\n\
         <rect class=\"page\" width=\"{WIDTH}\" height=\"{top:.0}\" rx=\"8\"/>\n\
         <text class=\"h1\" x=\"{MARGIN}\" y=\"38\">How far from the best possible hit rate</text>\n\
         <text class=\"note\" x=\"{MARGIN}\" y=\"60\">{}</text>\n{body}</svg>\n",
        colours(&LIGHT),
        colours(&DARK),
        escaped(&about),
    )
}

fn colours(palette: &[(&str, &str)]) -> String {
    let mut rules = String::new();
    for (name, colour) in palette {
        let _ = match *name {
            "page" => write!(rules, ".page{{fill:{colour}}}"),
            "text" => write!(rules, "text{{fill:{colour}}}"),
            "muted" => write!(rules, ".note{{fill:{colour}}}.axis{{stroke:{colour}}}"),
            "grid" => write!(rules, ".grid{{stroke:{colour}}}"),
            name => write!(
                rules,
                "rect.{name},circle.{name}{{fill:{colour}}}path.{name}{{stroke:{colour}}}"
            ),
        };
    }
    rules
}

/// The traces drawn as lines, the preferred ones first.
fn shown(traces: &[Trial]) -> Vec<&Trial> {
    let preferred = SHOWN.iter().filter_map(|name| traces.iter().find(|it| it.name == *name));
    let others = traces.iter().filter(|trial| !SHOWN.contains(&trial.name.as_str()));
    preferred.chain(others).take(SHOWN.len()).collect()
}

fn bars(
    results: &Results,
    order: &[usize],
    title: &str,
    figure: impl Fn(usize) -> f64,
    left: f64,
) -> String {
    let (begin, width) = (left + LABELS, PANEL - LABELS - VALUES);
    let largest = order.iter().map(|&who| figure(who)).fold(1.0, f64::max);
    let bottom = HEADER + PANEL_HEAD + order.len() as f64 * ROW;
    let mut svg = heading(title, "percentage points; less is better", left, HEADER);
    let step = if largest > 25.0 { 10.0 } else { 5.0 };
    let mut tick = step;
    while tick <= largest {
        let x = begin + width * tick / largest;
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\"/>\
             <text class=\"note mid\" x=\"{x:.1}\" y=\"{:.1}\">{tick}</text>",
            HEADER + PANEL_HEAD,
            bottom + 15.0,
        );
        tick += step;
    }
    for (number, &who) in order.iter().enumerate() {
        let contestant = &results.contestants[who];
        let is_ours = contestant.side == Side::Ours;
        let (class, strong) = if is_ours { ("ours", " strong") } else { ("peer", "") };
        let y = HEADER + PANEL_HEAD + (number as f64 + 0.5) * ROW;
        let long = (width * figure(who) / largest).max(1.0);
        let _ = writeln!(
            svg,
            "<text class=\"end{strong}\" x=\"{:.1}\" y=\"{:.1}\">{}</text>\
             <rect class=\"{class}\" x=\"{begin:.1}\" y=\"{:.1}\" width=\"{long:.1}\" \
             height=\"14\" rx=\"2\"/><text class=\"{}\" x=\"{:.1}\" y=\"{:.1}\">{:.1}</text>",
            begin - 10.0,
            y + 4.0,
            escaped(contestant.title),
            y - 7.0,
            strong.trim(),
            begin + long + 7.0,
            y + 4.0,
            figure(who),
        );
    }
    let _ = writeln!(
        svg,
        "<line class=\"axis\" x1=\"{begin:.1}\" x2=\"{begin:.1}\" y1=\"{:.1}\" y2=\"{bottom:.1}\"/>",
        HEADER + PANEL_HEAD,
    );
    svg
}

/// Those who are drawn as lines and took part: place, title, class.
fn drawn(results: &Results) -> Vec<(usize, &'static str, &'static str)> {
    let found = DRAWN.iter().filter_map(|&(slug, class)| {
        let place = results.contestants.iter().position(|who| who.slug == slug)?;
        Some((place, results.contestants[place].title, class))
    });
    found.collect()
}

fn legend(results: &Results, top: f64) -> String {
    let note = "percent of requests, over the share of keys that fit, logarithmic; more is better";
    let mut svg = heading("Hit rate over capacity", note, MARGIN, top);
    let mut x = MARGIN;
    for (_, title, class) in drawn(results).into_iter().rev() {
        let y = top + 48.0;
        let _ = writeln!(
            svg,
            "<path class=\"{class}\" d=\"M{x:.1} {y:.1}h26\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            x + 33.0,
            y + 4.0,
            escaped(title),
        );
        x += 33.0 + 7.0 * title.len() as f64 + 24.0;
    }
    svg
}

fn lines(results: &Results, trial: &Trial, left: f64, top: f64) -> String {
    let (begin, width) = (left + SCALE, PANEL - SCALE);
    let (ceiling, bottom) = (top + PANEL_HEAD, top + PANEL_HEAD + LINES);
    let drawn = drawn(results);
    let rates = || trial.at.iter().flat_map(|at| drawn.iter().map(|&(who, ..)| at.rates[who]));
    let lowest = (rates().fold(100.0, f64::min) / 10.0).floor() * 10.0;
    let highest = ((rates().fold(0.0, f64::max) / 10.0).ceil() * 10.0).max(lowest + 10.0);
    let share = |capacity: usize| (capacity as f64 / trial.keys.max(1) as f64).ln();
    let first = trial.at.first().map_or(0.0, |at| share(at.capacity));
    let last = trial.at.last().map_or(1.0, |at| share(at.capacity));
    let span = if last > first { last - first } else { 1.0 };
    let across = |capacity| begin + 10.0 + (width - 20.0) * (share(capacity) - first) / span;
    let up = |rate: f64| bottom - LINES * (rate - lowest) / (highest - lowest);

    let mut svg = String::new();
    let _ = writeln!(
        svg,
        "<text class=\"h2\" x=\"{left:.1}\" y=\"{:.1}\">{}</text>",
        top + 24.0,
        escaped(&trial.name),
    );
    let step = if highest - lowest > 50.0 { 20.0 } else { 10.0 };
    let mut tick = lowest;
    while tick <= highest {
        let y = up(tick);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{begin:.1}\" x2=\"{:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"note end\" x=\"{:.1}\" y=\"{:.1}\">{tick}</text>",
            begin + width,
            begin - 7.0,
            y + 4.0,
        );
        tick += step;
    }
    for at in &trial.at {
        let percent = 100.0 * at.capacity as f64 / trial.keys.max(1) as f64;
        let text = if percent < 0.95 { format!("{percent:.1}") } else { format!("{percent:.0}") };
        let _ = writeln!(
            svg,
            "<text class=\"note mid\" x=\"{:.1}\" y=\"{:.1}\">{text} %</text>",
            across(at.capacity),
            bottom + 17.0,
        );
    }
    let _ = writeln!(
        svg,
        "<line class=\"axis\" x1=\"{begin:.1}\" x2=\"{begin:.1}\" y1=\"{ceiling:.1}\" \
         y2=\"{bottom:.1}\"/>",
    );
    for (who, _, class) in drawn {
        let points = trial.at.iter().map(|at| (across(at.capacity), up(at.rates[who])));
        let places: Vec<String> = points.map(|(x, y)| format!("{x:.1} {y:.1}")).collect();
        let _ = writeln!(svg, "<path class=\"{class}\" d=\"M{}\"/>", places.join("L"));
    }
    svg
}

fn heading(title: &str, note: &str, left: f64, top: f64) -> String {
    format!(
        "<text class=\"h2\" x=\"{left:.1}\" y=\"{:.1}\">{}</text>\
         <text class=\"note\" x=\"{left:.1}\" y=\"{:.1}\">{}</text>\n",
        top + 10.0,
        escaped(title),
        top + 27.0,
        escaped(note),
    )
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::super::results::tests::sample;
    use super::*;

    fn machine() -> Machine {
        let text = || "a < b".to_owned();
        Machine {
            processor: text(),
            cores: 2,
            system: text(),
            compiler: text(),
            commit: text(),
            date: text(),
        }
    }

    #[test]
    fn everybody_has_two_bars_and_each_trace_its_lines() {
        let svg = draw(&sample(), &machine());
        assert_eq!(svg.matches("<rect class=\"ours\"").count(), 2 * 3);
        // OPT, LRU and adaptive: once in the legend, once in each of two panels.
        assert_eq!(svg.matches("<path ").count(), 3 * 3);
        assert!(svg.contains("a &lt; b") && !svg.contains("NaN") && !svg.contains("inf"));
    }

    #[test]
    fn better_is_higher() {
        let results = sample();
        let svg = lines(&results, &results.traces[0], 0.0, 0.0);
        let end = |class: &str| -> f64 {
            let path = svg.split(&format!("class=\"{class}\" d=\"")).nth(1).unwrap();
            let last = path.split('"').next().unwrap().rsplit(' ').next().unwrap();
            last.parse().unwrap()
        };
        assert!(end("bound") < end("ours") && end("ours") < end("lru"));
    }
}

//! One picture of all results: Ashlar by each peer, a bar for each.
//!
//! ```text
//!   title
//!     peer   ▆▆▆▆▆▆▆▆▆▆▆│▆▆▆▆▆   1.4
//!                       └ 1: as fast as the peer
//! ```
//! Bars are on a logarithmic scale, so that twice and half are equally far from the line.

use crate::measure::Comparison;
use crate::report;
use std::fmt::Write;
use std::fs;

const WIDTH: f64 = 860.0;
const ROW: f64 = 22.0;
/// Where the line of equality stands.
const MIDDLE: f64 = 520.0;
/// Length of a bar for a factor of two.
const DOUBLE: f64 = 70.0;
/// Bars end here, however large the factor.
const LONGEST: f64 = 240.0;

/// Draws `bench/results/results.svg` from all saved results.
pub(crate) fn draw() {
    let (machine, comparisons) = report::load();
    let path = report::folder().join("results.svg");
    fs::write(path, svg(&machine, &comparisons)).expect("results can be written");
}

fn svg(machine: &str, comparisons: &[Comparison]) -> String {
    let mut body = String::new();
    let mut top = 56.0;
    for comparison in comparisons {
        text(&mut body, 20.0, top, "title", &comparison.title);
        top += ROW;
        let bars = comparison.series.iter().filter(|series| series.name != "ashlar");
        if comparison.higher_is_better {
            for series in bars {
                bar(&mut body, top, &format!("by {}", series.name), comparison.ratio(series));
                top += ROW;
            }
        } else {
            for series in bars {
                let figure = format!("{}: {:.0} {}", series.name, series.median(), comparison.unit);
                text(&mut body, 40.0, top, "label", &figure);
                top += ROW;
            }
        }
        top += ROW / 2.0;
    }
    let height = top + 10.0;
    let line_end = height - 30.0;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\">\n\
         <style>text {{ font-family: sans-serif; font-size: 13px; fill: #222 }}\n\
         .title {{ font-weight: bold }} .label {{ fill: #555 }} .small {{ font-size: 11px }}\n\
         .good {{ fill: #3a7d5c }} .bad {{ fill: #b5533c }}</style>\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n\
         <text x=\"20\" y=\"24\" class=\"title\">\
         Ashlar by its peers; right of the line: faster</text>\n\
         <text x=\"20\" y=\"40\" class=\"small\">{}</text>\n{body}\
         <line x1=\"{MIDDLE}\" y1=\"48\" x2=\"{MIDDLE}\" y2=\"{line_end}\" stroke=\"#888\"/>\n\
         </svg>\n",
        escape(machine)
    )
}

fn bar(body: &mut String, top: f64, label: &str, ratio: f64) {
    text(body, 40.0, top, "label", label);
    if !ratio.is_finite() || ratio <= 0.0 {
        return;
    }
    let length = (ratio.log2() * DOUBLE).clamp(-LONGEST, LONGEST);
    let (start, class) = if length >= 0.0 { (MIDDLE, "good") } else { (MIDDLE + length, "bad") };
    let (y, width) = (top - 12.0, length.abs().max(1.0));
    // Writing to a string cannot fail.
    let _ = writeln!(
        body,
        "<rect x=\"{start:.1}\" y=\"{y:.1}\" width=\"{width:.1}\" height=\"15\" class=\"{class}\"/>"
    );
    text(body, MIDDLE + LONGEST + 20.0, top, "label", &format!("{ratio:.2}"));
}

fn text(body: &mut String, x: f64, y: f64, class: &str, content: &str) {
    let content = escape(content);
    // Writing to a string cannot fail.
    let _ = writeln!(body, "<text x=\"{x}\" y=\"{y:.1}\" class=\"{class}\">{content}</text>");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

//! Results for people and for programs.

use crate::Settings;
use crate::measure::{Comparison, Series};
use crate::peers::run;
use serde_json::{Value, json};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where results go.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("results")
}

/// Prints a table for each comparison.
pub(crate) fn print(comparisons: &[Comparison]) {
    for comparison in comparisons {
        println!("\n{} ({})", comparison.title, comparison.unit);
        println!("  {:<24} {:>10} {:>22} {:>8}", "", "median", "lowest … highest", "ratio");
        for series in &comparison.series {
            let (lowest, highest) = series.spread();
            let spread = format!("{lowest:.0} … {highest:.0}");
            let ratio = comparison.ratio(series);
            println!("  {:<24} {:>10.0} {spread:>22} {ratio:>8.2}", series.name, series.median());
        }
        for note in &comparison.notes {
            println!("  {note}");
        }
    }
    println!("\n{}", machine());
}

/// Writes the results of one benchmark as JSON.
pub(crate) fn save(name: &str, settings: &Settings, comparisons: &[Comparison]) {
    let comparisons: Vec<Value> = comparisons.iter().map(comparison).collect();
    let commit = Command::new("git").args(["rev-parse", "--short", "HEAD"]).output();
    let commit = commit.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    let result = json!({
        "benchmark": name,
        "machine": machine(),
        "commit": commit.unwrap_or_default(),
        "percent": settings.percent,
        "comparisons": comparisons,
    });
    let folder = folder();
    let text = serde_json::to_string_pretty(&result).expect("figures are numbers");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(folder.join(format!("{name}.json")), text + "\n"))
        .expect("results can be written");
}

fn comparison(comparison: &Comparison) -> Value {
    let series: Vec<Value> = comparison
        .series
        .iter()
        .map(|series| {
            json!({
                "name": series.name,
                "figures": series.figures,
                "median": series.median(),
                "ashlar_by_this": comparison.ratio(series),
            })
        })
        .collect();
    json!({
        "title": comparison.title,
        "unit": comparison.unit,
        "higher_is_better": comparison.higher_is_better,
        "series": series,
        "notes": comparison.notes,
    })
}

/// All results that were ever saved, as the picture draws them.
pub(crate) fn load() -> (String, Vec<Comparison>) {
    let mut paths: Vec<PathBuf> = fs::read_dir(folder())
        .map(|entries| entries.flatten().map(|entry| entry.path()).collect())
        .unwrap_or_default();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    let mut machine = String::new();
    let mut all = Vec::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap_or_default();
        let value: Value = serde_json::from_str(&text).unwrap_or_default();
        value["machine"].as_str().unwrap_or_default().clone_into(&mut machine);
        all.extend(value["comparisons"].as_array().into_iter().flatten().map(parse));
    }
    (machine, all)
}

fn parse(value: &Value) -> Comparison {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let unit: String = text(&value["unit"]);
    let series = value["series"].as_array().into_iter().flatten().map(|series| Series {
        name: text(&series["name"]),
        figures: series["figures"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_f64)
            .collect(),
    });
    Comparison {
        title: text(&value["title"]),
        // A handful of units a run.
        unit: unit.leak(),
        higher_is_better: value["higher_is_better"].as_bool().unwrap_or(true),
        series: series.collect(),
        notes: Vec::new(),
    }
}

/// Processor, cores, memory, kernel.
pub(crate) fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let (processors, memory) = (read("/proc/cpuinfo"), read("/proc/meminfo"));
    let model = processors.lines().find(|line| line.starts_with("model name"));
    let model = model.and_then(|line| line.split(": ").nth(1)).unwrap_or("unknown processor");
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok());
    let kernel = run(Command::new("uname").arg("-r"));
    let memory = kib.unwrap_or(0).div_ceil(1 << 20);
    format!("{model}, {cores} cores, {memory} GiB, Linux {}", kernel.trim())
}

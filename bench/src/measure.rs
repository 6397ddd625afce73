//! Figures of several contenders over several rounds, and what they say together.

use std::time::{Duration, Instant};

/// One quantity, measured of several contenders in each round.
#[derive(Debug, Clone)]
pub(crate) struct Comparison {
    /// What was measured.
    pub(crate) title: String,
    /// Unit of the figures.
    pub(crate) unit: &'static str,
    /// Higher is better.
    pub(crate) higher_is_better: bool,
    /// Contenders, Ashlar first; one figure a round each.
    pub(crate) series: Vec<Series>,
    /// Facts that belong to the figures, such as flushes counted.
    pub(crate) notes: Vec<String>,
}

/// One contender's figures.
#[derive(Debug, Clone)]
pub(crate) struct Series {
    /// Contender.
    pub(crate) name: String,
    /// One figure a round.
    pub(crate) figures: Vec<f64>,
}

impl Series {
    /// The figure in the middle.
    pub(crate) fn median(&self) -> f64 {
        median(&self.figures)
    }

    /// Lowest and highest figure.
    pub(crate) fn spread(&self) -> (f64, f64) {
        let lowest = self.figures.iter().copied().fold(f64::INFINITY, f64::min);
        (lowest, self.figures.iter().copied().fold(0.0, f64::max))
    }
}

impl Comparison {
    /// A comparison without figures.
    pub(crate) fn new(title: impl Into<String>, unit: &'static str) -> Self {
        let (series, notes) = (Vec::new(), Vec::new());
        Self { title: title.into(), unit, higher_is_better: true, series, notes }
    }

    /// Adds a contender's figure of one round.
    pub(crate) fn add(&mut self, name: &str, figure: f64) {
        match self.series.iter_mut().find(|series| series.name == name) {
            Some(series) => series.figures.push(figure),
            None => self.series.push(Series { name: name.into(), figures: vec![figure] }),
        }
    }

    /// Median over the rounds of Ashlar's figure by that of `peer`.
    pub(crate) fn ratio(&self, peer: &Series) -> f64 {
        let Some(own) = self.series.first() else { return f64::NAN };
        let ratios: Vec<f64> =
            own.figures.iter().zip(&peer.figures).map(|(own, peer)| own / peer).collect();
        median(&ratios)
    }
}

fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => f64::NAN,
        count if count % 2 == 1 => sorted[count / 2],
        count => f64::midpoint(sorted[count / 2 - 1], sorted[count / 2]),
    }
}

/// How long `act` takes.
pub(crate) fn time(act: impl FnOnce()) -> Duration {
    let start = Instant::now();
    act();
    start.elapsed()
}

/// How many of `count` things happen in a second, if all take `time`.
pub(crate) fn rate(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64()
}

/// The order of contenders in a round: each comes first in turn.
pub(crate) fn turns(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |at| (at + round) % count)
}

//! Pairs of measurements, their ratios, and how they are shown.

use console::style;
use serde_json::{Map, Value, json};

/// When others used the machine this much more (in points of percent) beside one side than beside the other, the pair
/// says nothing.
const UNEVEN: f64 = 15.0;

/// The share of the machine others used, percent; not compared, only used to judge a pair.
pub const OTHERS: &str = "others_percent";

/// What one side of a pair showed: names with units, values.
#[derive(Clone, Debug, Default)]
pub struct Side(Vec<(&'static str, f64)>);

impl Side {
    /// Without figures.
    pub fn new() -> Self {
        Self::default()
    }

    /// With one more.
    pub fn with(mut self, name: &'static str, value: f64) -> Self {
        self.0.push((name, value));
        self
    }

    /// A figure by its name.
    pub fn get(&self, name: &str) -> Option<f64> {
        self.0
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| *value)
    }

    fn json(&self) -> Value {
        self.0
            .iter()
            .map(|(name, value)| ((*name).to_owned(), rounded(*value)))
            .collect::<Map<_, _>>()
            .into()
    }
}

/// Pairs of one comparison.
#[derive(Debug)]
pub struct Series {
    row: &'static str,
    case: String,
    ours: &'static str,
    peer: String,
    pairs: Vec<(Side, Side)>,
    tried: usize,
}

impl Series {
    /// An empty series of `row`: `ours` against `peer` in the circumstances of `case`.
    pub fn new(row: &'static str, case: &str, peer: &str) -> Self {
        Self {
            row,
            case: case.to_owned(),
            ours: "slipway",
            peer: peer.to_owned(),
            pairs: Vec::new(),
            tried: 0,
        }
    }

    /// Whether more pairs are to be taken to have `wanted` good ones; gives up after as many bad ones.
    pub fn wants(&self, wanted: usize) -> bool {
        self.pairs.len() < wanted && self.tried < 2 * wanted
    }

    /// Takes a pair and prints it.
    pub fn add(&mut self, ours: Side, peer: Side) {
        self.tried += 1;
        let uneven = match (ours.get(OTHERS), peer.get(OTHERS)) {
            (Some(a), Some(b)) => (a - b).abs() > UNEVEN,
            _ => false,
        };
        let ratios: Map<String, Value> = compared(&ours, &peer)
            .map(|(name, a, b)| (name.to_owned(), rounded(a / b)))
            .collect();
        let line = json!({
            "row": self.row, "case": self.case, "pair": self.tried, "discarded": uneven,
            self.ours: ours.json(), self.peer.as_str(): peer.json(), "ratio": ratios,
        });
        println!("{line}");
        if !uneven {
            self.pairs.push((ours, peer));
        }
    }

    /// The median of a figure's ratios within pairs; not a number without pairs that have it.
    pub fn median_ratio(&self, name: &str) -> f64 {
        let values = self.values(name);
        let ratios: Vec<f64> = values
            .iter()
            .filter(|(_, b)| *b > 0.0)
            .map(|(a, b)| a / b)
            .collect();
        quantile(&ratios, 0.5)
    }

    /// The median of our figure.
    pub fn median(&self, name: &str) -> f64 {
        let ours: Vec<f64> = self.pairs.iter().filter_map(|(ours, _)| ours.get(name)).collect();
        quantile(&ours, 0.5)
    }

    fn values(&self, name: &str) -> Vec<(f64, f64)> {
        let value = |(a, b): &(Side, Side)| Some((a.get(name)?, b.get(name)?));
        self.pairs.iter().filter_map(value).collect()
    }
}

fn compared<'a>(ours: &'a Side, peer: &'a Side) -> impl Iterator<Item = (&'static str, f64, f64)> + 'a {
    let both = |(name, a): &(&'static str, f64)| Some((*name, *a, peer.get(name)?));
    ours.0
        .iter()
        .filter_map(both)
        .filter(|(name, _, b)| *name != OTHERS && *b > 0.0)
}

fn rounded(value: f64) -> Value {
    json!((value * 1000.0).round() / 1000.0)
}

/// The value below which the share `part` of `values` lies; interpolated.
pub fn quantile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let place = part * f64::from(u32::try_from(last).unwrap_or(u32::MAX));
    let (low, high) = (place.floor(), place.ceil());
    let at = |place: f64| {
        let index = (0..=last).find(|index| f64::from(u32::try_from(*index).unwrap_or(u32::MAX)) >= place);
        sorted[index.unwrap_or(last)]
    };
    let (low, high) = (at(low), at(high));
    low + (high - low) * place.fract()
}

/// Prints medians, and the spread of the ratios within pairs.
pub fn print_table(results: &[Series]) {
    println!();
    let head = [
        "row",
        "case",
        "peer",
        "figure",
        "slipway",
        "peer's",
        "ratio",
        "quartiles",
        "range",
        "pairs",
    ];
    let mut lines = vec![head.map(str::to_owned).to_vec()];
    for series in results {
        let Some((first, other)) = series.pairs.first() else {
            continue;
        };
        for (name, value) in &first.0 {
            let line = if other.get(name).is_some() && *name != OTHERS {
                compared_line(series, name)
            } else {
                let all: Vec<f64> = series.pairs.iter().filter_map(|(a, _)| a.get(name)).collect();
                debug_assert!(all.contains(value));
                alone_line(series, name, &all)
            };
            lines.push(line);
        }
    }
    let width = |column: usize| {
        lines
            .iter()
            .map(|line| line[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for (index, line) in lines.iter().enumerate() {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        let text = cells.join("  ");
        println!(
            "{}",
            if index == 0 {
                style(text).bold().to_string()
            } else {
                text
            }
        );
    }
}

fn start_of_line(series: &Series, name: &str) -> Vec<String> {
    vec![
        series.row.to_owned(),
        series.case.clone(),
        series.peer.clone(),
        name.to_owned(),
    ]
}

fn compared_line(series: &Series, name: &str) -> Vec<String> {
    let values = series.values(name);
    let (ours, peers): (Vec<f64>, Vec<f64>) = values.iter().copied().unzip();
    let ratios: Vec<f64> = values
        .iter()
        .filter(|(_, b)| *b > 0.0)
        .map(|(a, b)| a / b)
        .collect();
    let mut line = start_of_line(series, name);
    line.extend([
        format!("{:.2}", quantile(&ours, 0.5)),
        format!("{:.2}", quantile(&peers, 0.5)),
        format!("{:.2}", quantile(&ratios, 0.5)),
        format!("{:.2}-{:.2}", quantile(&ratios, 0.25), quantile(&ratios, 0.75)),
        format!("{:.2}-{:.2}", quantile(&ratios, 0.0), quantile(&ratios, 1.0)),
        format!("{}/{}", values.len(), series.tried),
    ]);
    line
}

/// A figure the peer has no counterpart of: its own spread in place of the ratios'.
fn alone_line(series: &Series, name: &str, all: &[f64]) -> Vec<String> {
    let mut line = start_of_line(series, name);
    line.extend([
        format!("{:.2}", quantile(all, 0.5)),
        "-".to_owned(),
        "-".to_owned(),
        format!("[{:.2}-{:.2}]", quantile(all, 0.25), quantile(all, 0.75)),
        format!("[{:.2}-{:.2}]", quantile(all, 0.0), quantile(all, 1.0)),
        format!("{}/{}", all.len(), series.tried),
    ]);
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_interpolated() {
        let values = [4.0, 1.0, 3.0, 2.0];
        for (part, expected) in [(0.0, 1.0), (0.25, 1.75), (0.5, 2.5), (1.0, 4.0)] {
            assert!((quantile(&values, part) - expected).abs() < 1e-9, "{part}");
        }
        assert!((quantile(&[7.0], 0.5) - 7.0).abs() < 1e-9);
        assert!(quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn a_pair_beside_an_uneven_machine_does_not_count() {
        let mut series = Series::new("row", "case", "peer");
        let side = |others| Side::new().with("wall_ms", 1.0).with(OTHERS, others);
        series.add(side(1.0), side(20.0));
        assert_eq!(series.pairs.len(), 0);
        assert!(series.wants(1));
        series.add(side(1.0), side(3.0));
        assert!(!series.wants(1));
    }
}

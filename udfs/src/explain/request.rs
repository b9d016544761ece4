//! What `explain` is asked for: which tensors of the graph, and which input column each feature of its trees is.
//!
//! Text that sqlml writes behind the model's key (sqlml/engines/explain.py), of parts with `;` between them, of words:
//!   1 <score tensor> <positions of the scores in it> <number of input columns> <predicted | all>
//!   <constant added to each score>
//!   <TreeEnsemble's output> <column per feature> <feature:what it is a part of | -> <score:target:factor>   (per ensemble)
//! Lists have commas; `2x40` in the second is 40 features of column 2, `-` a feature that no tree asks for.

use super::paths::NONE;
use crate::error::{Error, Result};
use std::str::FromStr;

#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    pub score: String,
    pub positions: Vec<usize>,
    pub columns: usize,
    /// Of several scores only that of the predicted class.
    pub predicted: bool,
    pub constants: Vec<f64>,
    pub ensembles: Vec<Asked>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Asked {
    pub tensor: String,
    /// Per feature; NONE where no tree asks for it.
    pub columns: Vec<u32>,
    pub players: Vec<u32>,
    pub terms: Vec<(u32, u32, f64)>,
}

/// Features, scores and columns that are believed; a DuckDB table has at most so many columns and more.
const LIMIT: usize = 1 << 20;

pub fn read(text: &str) -> Result<Request> {
    parse(text).ok_or_else(|| {
        Error::Failed("sqlml_explain: its request is not one that sqlml writes".into())
    })
}

fn parse(text: &str) -> Option<Request> {
    let mut lines = text.split(';');
    let head: Vec<&str> = lines.next()?.split(' ').collect();
    let ["1", score, positions, columns, which] = head[..] else {
        return None;
    };
    let positions: Vec<usize> = list(positions)?;
    let columns: usize = columns.parse().ok().filter(|count| *count <= LIMIT)?;
    let constants: Vec<f64> = list(lines.next()?)?;
    let predicted = match which {
        "predicted" => true,
        "all" => false,
        _ => return None,
    };
    let numbers = positions.len().checked_mul(columns)?;
    if constants.len() != positions.len() || positions.is_empty() || numbers > LIMIT {
        return None;
    }
    let ensembles = lines
        .map(|line| asked(line, columns, positions.len()))
        .collect::<Option<Vec<_>>>()?;
    Some(Request {
        score: score.into(),
        positions,
        columns,
        predicted,
        constants,
        ensembles,
    })
}

fn asked(line: &str, columns: usize, scores: usize) -> Option<Asked> {
    let words: Vec<&str> = line.split(' ').collect();
    let [tensor, of, parts, terms] = words[..] else {
        return None;
    };
    let mut per_feature = Vec::new();
    for word in of.split(',') {
        let (column, count) = word.split_once('x').unwrap_or((word, "1"));
        let count: usize = count.parse().ok()?;
        let column = match column {
            "-" => NONE,
            text => text.parse().ok().filter(|c| (*c as usize) < columns)?,
        };
        if per_feature.len() + count > LIMIT {
            return None;
        }
        per_feature.extend(std::iter::repeat_n(column, count));
    }
    let mut players: Vec<u32> = (0..per_feature.len() as u32).collect();
    if parts != "-" {
        for word in parts.split(',') {
            let (part, feature) = word.split_once(':')?;
            let feature: u32 = feature.parse().ok()?;
            *players.get_mut(part.parse::<usize>().ok()?)? = feature;
        }
    }
    let mut found = Vec::new();
    for word in terms.split(',') {
        let mut numbers = word.split(':');
        let score: u32 = numbers.next()?.parse().ok()?;
        let target: u32 = numbers.next()?.parse().ok()?;
        let factor: f64 = numbers.next()?.parse().ok()?;
        if score as usize >= scores || numbers.next().is_some() {
            return None;
        }
        found.push((score, target, factor));
    }
    Some(Asked {
        tensor: tensor.into(),
        columns: per_feature,
        players,
        terms: found,
    })
}

fn list<T: FromStr>(text: &str) -> Option<Vec<T>> {
    text.split(',').map(|word| word.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sqlml_writes_is_read() {
        let text = "1 div_3 1 4 all;0.5;tree_1 0,2x3,-,3 5:3 0:0:0.01";
        let request = read(text).unwrap();
        assert_eq!(request.score, "div_3");
        assert_eq!(request.ensembles[0].columns, [0, 2, 2, 2, NONE, 3]);
        assert_eq!(request.ensembles[0].players, [0, 1, 2, 3, 4, 3]);
        assert_eq!(request.ensembles[0].terms, [(0, 0, 0.01)]);
    }

    #[test]
    fn anything_else_is_refused() {
        for text in [
            "",
            "2 s 0 1 all;0",
            "1 s 0 1 some;0",
            "1 s 0,1 1 all;0",
            "1 s 0 99999999999 all;0",
            "1 s 0,0 1048576 all;0,0",
            "1 s 0 2 all;0;t 2 - 0:0:1",
            "1 s 0 2 all;0;t 0x99999999999 - 0:0:1",
            "1 s 0 2 all;0;t 0x9999999 - 0:0:1",
            "1 s 0 2 all;0;t 0 7:0 0:0:1",
            "1 s 0 2 all;0;t 0 - 1:0:1",
            "1 s 0 2 all;0;t 0 - 0:0:1:1",
            "1 s 0 2 all;0;t 0 -",
        ] {
            assert!(read(text).is_err(), "{text}");
        }
    }
}

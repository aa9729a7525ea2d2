//! From what a request shows to the rules that can match it.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, DefaultHasher};

use super::address_table::AddressTable;
use super::affix_table::AffixTable;
use super::keys::{Alternative, Asked, Attribute, Clause, Key};
use super::seen::{self, Seen};
use crate::authorization::Facts;

/// Keyed by nothing: whoever writes policies may slow down their own decisions, and requests write nothing into a table.
pub(super) type Hasher = BuildHasherDefault<DefaultHasher>;

/// The rules of a stage, by their numbers, which are their order.
///
/// Each rule is led to by one of its clauses, the one whose values the fewest rules share. It takes room in proportion to what rules ask
/// for.
#[derive(Debug, Default)]
pub(super) struct RuleIndex {
    /// Rules that nothing leads to: they can always match.
    always: Vec<usize>,
    /// For each attribute by which some rule is led.
    tables: Vec<(Attribute, Table)>,
    lists: Lists,
}

#[derive(Debug, Default)]
struct Table {
    exact: HashMap<Box<[u8]>, usize, Hasher>,
    prefixes: AffixTable,
    suffixes: AffixTable,
    ranges: AddressTable,
}

/// Many short lists in one.
#[derive(Debug, Default)]
struct Lists {
    ends: Vec<usize>,
    rules: Vec<usize>,
}

/// Room for a decision to work in, kept from one to the next so that none allocates: it grows to the most rules that could match at once.
#[derive(Debug, Default)]
pub struct Scratch {
    /// Rules that can match, in their order, each once.
    pub(super) candidates: Vec<usize>,
    text: Vec<u8>,
    reversed: Vec<u8>,
}

type Counts<'k> = HashMap<(Attribute, &'k Key), usize, Hasher>;

impl RuleIndex {
    /// Of rules in their order, by their clauses.
    pub(super) fn of(rules: &[Vec<Clause>]) -> Self {
        let mut counts = Counts::default();
        for asked in rules.iter().flatten().flatten().flatten() {
            for key in &asked.keys {
                *counts.entry((asked.attribute, key)).or_default() += 1;
            }
        }
        let mut always = Vec::new();
        let mut led: HashMap<(Attribute, &Key), Vec<usize>, Hasher> = HashMap::default();
        for (number, clauses) in rules.iter().enumerate() {
            let Some(cheapest) = clauses.iter().min_by_key(|clause| clause_cost(clause, &counts)) else {
                always.push(number);
                continue;
            };
            for asked in cheapest.iter().filter_map(|alternative| leader(alternative, &counts)) {
                for key in &asked.keys {
                    let list = led.entry((asked.attribute, key)).or_default();
                    if list.last() != Some(&number) {
                        list.push(number);
                    }
                }
            }
        }
        Self::of_lists(always, led)
    }

    fn of_lists(always: Vec<usize>, led: HashMap<(Attribute, &Key), Vec<usize>, Hasher>) -> Self {
        let mut lists = Lists::default();
        let mut by_attribute: Vec<Vec<(&Key, usize)>> = vec![Vec::new(); Attribute::ALL.len()];
        for ((attribute, key), rules) in led {
            let list = lists.push(&rules);
            let place = Attribute::ALL.iter().position(|one| *one == attribute);
            if let Some(keys) = place.and_then(|at| by_attribute.get_mut(at)) {
                keys.push((key, list));
            }
        }
        lists.rules.shrink_to_fit();
        let filled = Attribute::ALL.into_iter().zip(by_attribute).filter(|(_, keys)| !keys.is_empty());
        Self { always, tables: filled.map(|(attribute, keys)| (attribute, Table::of(keys))).collect(), lists }
    }

    /// Finds the rules that can match.
    pub(super) fn search(&self, facts: &Facts<'_>, scratch: &mut Scratch) {
        let Scratch { candidates, text, reversed } = scratch;
        candidates.clear();
        for (attribute, table) in &self.tables {
            seen::each(*attribute, facts, text, |value| {
                table.each(value, reversed, |list| candidates.extend_from_slice(self.lists.get(list)));
            });
        }
        candidates.extend_from_slice(&self.always);
        candidates.sort_unstable();
        candidates.dedup();
    }

    pub(super) fn always(&self) -> usize {
        self.always.len()
    }

    /// How many values lead to rules, each as often as it leads to one.
    pub(super) fn led(&self) -> usize {
        self.lists.rules.len()
    }
}

/// How many rules would have to be looked at by an attribute, at most for a value; a pattern, by which more values lead, counts for more.
fn cost(asked: &Asked, counts: &Counts<'_>) -> usize {
    let of_key = |key: &Key| {
        let shared = counts.get(&(asked.attribute, key)).copied().unwrap_or_default();
        match key {
            Key::Exact(_) => shared.saturating_mul(2),
            Key::Prefix(_) | Key::Suffix(_) | Key::Range(_) => shared.saturating_mul(2).saturating_add(1),
        }
    };
    asked.keys.iter().map(of_key).max().unwrap_or_default()
}

/// What leads to an alternative: what the fewest share, and of equals the one first in the order of attributes.
fn leader<'c>(alternative: &'c Alternative, counts: &Counts<'_>) -> Option<&'c Asked> {
    alternative.iter().min_by_key(|asked| (cost(asked, counts), asked.attribute))
}

fn clause_cost(clause: &Clause, counts: &Counts<'_>) -> (usize, Option<Attribute>) {
    let leaders = clause.iter().filter_map(|alternative| leader(alternative, counts));
    leaders.map(|asked| (cost(asked, counts), Some(asked.attribute))).max().unwrap_or_default()
}

impl Table {
    fn of(keys: Vec<(&Key, usize)>) -> Self {
        let (mut exact, mut prefixes, mut suffixes, mut ranges) = (HashMap::default(), Vec::new(), Vec::new(), Vec::new());
        for (key, list) in keys {
            match key {
                Key::Exact(text) => drop(exact.insert(text.clone(), list)),
                Key::Prefix(text) => prefixes.push((text.clone(), list)),
                Key::Suffix(text) => suffixes.push((text.clone(), list)),
                Key::Range(range) => ranges.push((*range, list)),
            }
        }
        Self { exact, prefixes: AffixTable::of(prefixes), suffixes: AffixTable::of(suffixes), ranges: AddressTable::of(ranges) }
    }

    /// The lists that a value leads to. `reversed` is room to write in.
    fn each(&self, value: Seen<'_>, reversed: &mut Vec<u8>, mut found: impl FnMut(usize)) {
        let bytes = match value {
            Seen::Address(address) => return self.ranges.each(address, found),
            Seen::Bytes(bytes) => bytes,
        };
        if let Some(list) = self.exact.get(bytes) {
            found(*list);
        }
        if !self.prefixes.is_empty() {
            self.prefixes.each(bytes, &mut found);
        }
        if !self.suffixes.is_empty() {
            reversed.clear();
            reversed.extend(bytes.iter().rev());
            self.suffixes.each(reversed, &mut found);
        }
    }
}

impl Lists {
    fn push(&mut self, rules: &[usize]) -> usize {
        self.rules.extend_from_slice(rules);
        self.ends.push(self.rules.len());
        self.ends.len() - 1
    }

    fn get(&self, list: usize) -> &[usize] {
        let start = list.checked_sub(1).and_then(|before| self.ends.get(before)).copied().unwrap_or_default();
        self.ends.get(list).and_then(|end| self.rules.get(start..*end)).unwrap_or_default()
    }
}

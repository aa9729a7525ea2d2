//! Which of many texts a value begins with.

/// Texts in their order, each with the longest other one that it begins with.
///
/// Every text that a value begins with is the last text that is not behind the value, or one that this one begins with: a search and a
/// walk find them all. It holds each text once.
#[derive(Debug, Default)]
pub(super) struct AffixTable {
    rows: Vec<Row>,
}

#[derive(Debug)]
struct Row {
    text: Box<[u8]>,
    /// The place of the longest other text that this one begins with.
    within: Option<usize>,
    list: usize,
}

impl AffixTable {
    /// Of texts, each once and with the list that it leads to.
    pub(super) fn of(mut texts: Vec<(Box<[u8]>, usize)>) -> Self {
        texts.sort_unstable();
        let mut rows: Vec<Row> = Vec::with_capacity(texts.len());
        for (text, list) in texts {
            let mut within = rows.len().checked_sub(1);
            while let Some(row) = within.and_then(|at| rows.get(at)).filter(|row| !text.starts_with(&row.text)) {
                within = row.within;
            }
            rows.push(Row { text, within, list });
        }
        Self { rows }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lists of all texts that a value begins with.
    pub(super) fn each(&self, value: &[u8], mut found: impl FnMut(usize)) {
        let not_behind = self.rows.partition_point(|row| *row.text <= *value);
        let mut at = not_behind.checked_sub(1);
        let last = at.and_then(|at| self.rows.get(at));
        let common = last.map_or(0, |row| row.text.iter().zip(value).take_while(|(own, other)| own == other).count());
        while let Some(row) = at.and_then(|at| self.rows.get(at)) {
            if row.text.len() <= common {
                found(row.list);
            }
            at = row.within;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn finds_what_a_value_begins_with(texts in prop::collection::btree_set("[ab]{0,5}", 0..20), value in "[ab]{0,6}") {
            let numbered = texts.iter().enumerate();
            let table = AffixTable::of(numbered.clone().rev().map(|(list, text)| (text.as_bytes().into(), list)).collect());
            let mut found = BTreeSet::new();
            table.each(value.as_bytes(), |list| assert!(found.insert(list)));
            let expected: BTreeSet<usize> = numbered.filter(|(_, text)| value.starts_with(*text)).map(|(list, _)| list).collect();
            prop_assert_eq!(found, expected);
        }
    }
}

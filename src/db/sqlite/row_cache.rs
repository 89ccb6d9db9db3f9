//! The rows that were used last, as they are on disk.
//!
//! A resource that is acquired and released in turn is then read once and not
//! each time. Rows are taken out for a transaction and put back when it has
//! committed; one that fails leaves nothing behind. Whoever changes the table
//! beside the server is noticed at the begin of the next transaction.

use std::collections::HashMap;
use std::mem;

use crate::lock::{Resource, ResourceName};

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct StoredRow {
    /// The number by which it is updated.
    pub(super) id: i64,
    /// Whether the columns that few use are empty.
    pub(super) is_bare: bool,
}

/// A row and what is in it.
#[derive(Debug)]
pub(super) struct CachedRow {
    pub(super) row: StoredRow,
    pub(super) resource: Resource,
}

/// Two generations: when the younger is full it becomes the older, and what
/// nobody asked for since goes. So the rows in use stay, and forgetting costs
/// nothing while they do.
#[derive(Debug)]
pub(super) struct RowCache {
    younger: HashMap<ResourceName, CachedRow>,
    older: HashMap<ResourceName, CachedRow>,
    rows_max: usize,
}

impl RowCache {
    pub(super) fn of_at_most(rows_max: usize) -> Self {
        Self {
            younger: HashMap::new(),
            older: HashMap::new(),
            rows_max,
        }
    }

    /// Takes a row out.
    pub(super) fn take(&mut self, name: &ResourceName) -> Option<CachedRow> {
        self.younger.remove(name).or_else(|| self.older.remove(name))
    }

    /// Puts a row in, as it is on disk.
    pub(super) fn put(&mut self, row: CachedRow) {
        if self.younger.len() >= self.rows_max / 2 {
            self.older = mem::take(&mut self.younger);
        }
        self.younger.insert(row.resource.name.clone(), row);
    }

    /// Forgets the rows whose numbers are above `from` and up to `to`.
    pub(super) fn forget(&mut self, from: i64, to: i64) {
        let stays = |cached: &CachedRow| cached.row.id <= from || cached.row.id > to;
        self.younger.retain(|_, row| stays(row));
        self.older.retain(|_, row| stays(row));
    }

    /// Forgets all rows.
    pub(super) fn clear(&mut self) {
        self.younger.clear();
        self.older.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(number: i64) -> ResourceName {
        ResourceName::new(&number.to_string()).expect("well formed")
    }

    fn row(number: i64) -> CachedRow {
        CachedRow {
            row: StoredRow {
                id: number,
                is_bare: true,
            },
            resource: Resource::unseen(name(number)),
        }
    }

    #[test]
    fn a_row_is_found_once() {
        let mut cache = RowCache::of_at_most(10);
        cache.put(row(1));

        assert_eq!(cache.take(&name(1)).map(|cached| cached.row.id), Some(1));
        assert!(cache.take(&name(1)).is_none());
    }

    #[test]
    fn rows_in_use_stay_and_the_others_go() {
        let mut cache = RowCache::of_at_most(10);
        cache.put(row(0));

        for number in 1..100 {
            cache.put(row(number));
            let in_use = cache.take(&name(0)).expect("it is used all the time");
            cache.put(in_use);
        }

        assert!(cache.take(&name(1)).is_none());
        assert!(cache.younger.len() + cache.older.len() <= 10);
    }

    #[test]
    fn rows_of_a_range_are_forgotten_and_no_others() {
        let mut cache = RowCache::of_at_most(6);
        for number in 0..6 {
            cache.put(row(number));
        }

        cache.forget(1, 4);

        let left = (0..6).filter(|number| cache.take(&name(*number)).is_some());
        assert_eq!(Vec::from_iter(left), [0, 1, 5]);
    }

    #[test]
    fn a_cleared_cache_has_no_row() {
        let mut cache = RowCache::of_at_most(4);
        for number in 0..4 {
            cache.put(row(number));
        }

        cache.clear();

        assert!((0..4).all(|number| cache.take(&name(number)).is_none()));
    }
}

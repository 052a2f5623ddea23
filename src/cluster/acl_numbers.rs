//! Free numbers for the entries that a network ACL is to get.

use std::collections::BTreeSet;

use crate::shape::ec2::NetworkAcl;

/// The number of the entry at the end of every ACL, which denies the rest; entries for IPv6 have one more behind it.
pub(super) const LAST: i64 = 32767;

/// The numbers that are taken, by direction; `true` is egress.
pub(super) struct Numbers(BTreeSet<(bool, i64)>);

impl Numbers {
    pub fn of(acl: &NetworkAcl) -> Self {
        Numbers(acl.Entries.iter().filter_map(|e| Some((e.Egress?, e.RuleNumber?))).collect())
    }

    /// Takes a free number for an entry that goes before the one at `before`: the next round one, or else the next.
    /// Before the last one every number goes; those from 100 on are usual.
    pub fn take(&mut self, egress: bool, before: i64) -> Option<i64> {
        let before = before.min(LAST);
        let free = |n: &i64| !self.0.contains(&(egress, *n));
        let tens = || (1..before).filter(|n| n % 10 == 0).filter(free);
        let round = if before == LAST { tens().find(|n| *n >= 100) } else { tens().next_back() };
        let number = round.or_else(|| (1..before).rev().find(free))?;
        self.0.insert((egress, number));
        Some(number)
    }
}

/// The lowest number of an entry that denies.
fn first_denial(acl: &NetworkAcl, egress: bool) -> i64 {
    let denials = acl.Entries.iter().filter(|e| e.Egress == Some(egress) && e.RuleAction == "deny");
    denials.filter_map(|e| e.RuleNumber).min().unwrap_or(LAST)
}

/// A free number before every entry that denies.
pub(crate) fn free_number(acl: &NetworkAcl, egress: bool) -> Option<i64> {
    Numbers::of(acl).take(egress, first_denial(acl, egress))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::shape::ec2::NetworkAclEntry;

    fn acl(entries: &[(i64, &str)]) -> NetworkAcl {
        let entry = |(number, action): &(i64, &str)| NetworkAclEntry {
            RuleNumber: Some(*number),
            Egress: Some(false),
            RuleAction: (*action).into(),
            ..NetworkAclEntry::default()
        };
        NetworkAcl { Entries: entries.iter().map(entry).collect(), ..NetworkAcl::default() }
    }

    #[test]
    fn numbers_go_before_what_denies() {
        let usual = acl(&[(100, "allow"), (LAST, "deny")]);
        assert_eq!((free_number(&usual, false), free_number(&usual, true)), (Some(110), Some(100)));
        assert_eq!(free_number(&acl(&[(95, "deny"), (100, "allow")]), false), Some(90));
        assert_eq!(free_number(&acl(&[(2, "deny")]), false), Some(1));
        assert_eq!(free_number(&acl(&[(1, "deny")]), false), None);
        let mut numbers = Numbers::of(&acl(&[(90, "deny"), (80, "allow")]));
        assert_eq!((numbers.take(false, 90), numbers.take(false, 90)), (Some(70), Some(60)));
    }
}

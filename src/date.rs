//! Days of the calendar: what `until` of a suppression is compared with.

/// A day, `2026-12-31`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Date {
    year: i64,
    month: u8,
    day: u8,
}

impl Date {
    /// Reads `2026-12-31`; nothing when there is no such day.
    pub fn parse(text: &str) -> Option<Date> {
        let digits = |part: &str, length| {
            (part.len() == length && part.bytes().all(|b| b.is_ascii_digit())).then(|| part.parse().ok())?
        };
        let mut parts = text.split('-');
        let year: u16 = parts.next().and_then(|p| digits(p, 4))?;
        let (month, day) = (parts.next().and_then(|p| digits(p, 2))?, parts.next().and_then(|p| digits(p, 2))?);
        let date = Date { year: year.into(), month: month as u8, day: day as u8 };
        let there = (1..=12).contains(&month) && day >= 1 && day <= date.days_of_month().into();
        (there && parts.next().is_none()).then_some(date)
    }

    /// The day (UTC) of a time in seconds since 1970.
    pub fn of_unix(seconds: i64) -> Date {
        // Howard Hinnant, "chrono-compatible low-level date algorithms": years that begin in March.
        let days = seconds.div_euclid(86_400) + 719_468;
        let era = days.div_euclid(146_097);
        let of_era = days.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march = (5 * of_year + 2) / 153;
        let month = if march < 10 { march + 3 } else { march - 9 };
        let day = of_year - (153 * march + 2) / 5 + 1;
        Date { year: year_of_era + era * 400 + i64::from(month <= 2), month: month as u8, day: day as u8 }
    }

    fn days_of_month(self) -> u8 {
        match self.month {
            2 if self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0) => 29,
            2 => 28,
            4 | 6 | 9 | 11 => 30,
            _ => 31,
        }
    }
}

impl std::fmt::Display for Date {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year, self.month, self.day)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days() {
        for (seconds, day) in [
            (0, "1970-01-01"),
            (-1, "1969-12-31"),
            (951_782_400, "2000-02-29"),
            (1_798_675_199, "2026-12-30"),
            (1_798_761_599, "2026-12-31"),
            (4_107_542_400, "2100-03-01"),
        ] {
            assert_eq!(Date::of_unix(seconds).to_string(), day);
            assert_eq!(Date::parse(day), Some(Date::of_unix(seconds)));
        }
        for none in
            ["2026-02-29", "2026-13-01", "2026-00-01", "2026-1-1", "26-01-01", "2026-01-01-01", "2026-04-31", ""]
        {
            assert_eq!(Date::parse(none), None, "{none}");
        }
        assert!(Date::parse("2026-12-31") > Date::parse("2026-09-30"));
    }
}

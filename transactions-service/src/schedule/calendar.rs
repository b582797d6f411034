//! When a schedule runs: a first day, a time of day in a time zone, and how it repeats. Pure.
//!
//! Every occurrence is counted from the first one, so what begins on the 31st of January runs on the last day of February and
//! on the 31st of March again. A time of day that a change of the clocks leaves out is moved to the next one that there is; one
//! that comes twice is taken the first time.

use chrono::{DateTime, Days, Months, NaiveDate, NaiveTime, TimeDelta, TimeZone as _, Utc};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use shared::TimeZone;
use utoipa::ToSchema;

/// What a calendar may ask for at most.
pub const MAX_EVERY: u16 = 999;
pub const MAX_TIMES: u16 = 9999;

/// By which calendar a transfer is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Calendar {
    /// The day of the first run, in the time zone.
    pub first_on: NaiveDate,
    pub at: TimeOfDay,
    pub time_zone: TimeZone,
    /// How it repeats; once unless told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat>,
    /// No run after this day.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_on: Option<NaiveDate>,
    /// So many runs in all: 1 to 9,999.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<Times>,
}

/// Every so many days, weeks, months or years.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Repeat {
    /// 1 to 999.
    pub every: Every,
    pub unit: Unit,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unit {
    Day,
    Week,
    Month,
    Year,
}

impl Unit {
    pub const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::Year];

    pub fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::Year => "year",
        }
    }
}

/// A number from 1 to `MOST`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(transparent)]
#[schema(value_type = u16, minimum = 1)]
pub struct UpTo<const MOST: u16>(u16);

pub type Every = UpTo<MAX_EVERY>;
pub type Times = UpTo<MAX_TIMES>;

impl<const MOST: u16> UpTo<MOST> {
    pub fn new(number: u16) -> Option<Self> {
        (1..=MOST).contains(&number).then_some(Self(number))
    }

    pub fn get(self) -> u16 {
        self.0
    }
}

impl<'de, const MOST: u16> Deserialize<'de> for UpTo<MOST> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(u16::deserialize(deserializer)?)
            .ok_or_else(|| serde::de::Error::custom(format!("expected 1 to {MOST}")))
    }
}

/// `HH:MM`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ToSchema)]
#[schema(value_type = String, pattern = "^([01][0-9]|2[0-3]):[0-5][0-9]$", example = "09:00")]
pub struct TimeOfDay(pub NaiveTime);

impl Serialize for TimeOfDay {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.format("%H:%M"))
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let time = NaiveTime::parse_from_str(&text, "%H:%M");
        time.ok()
            .filter(|_| text.len() == 5)
            .map(Self)
            .ok_or_else(|| serde::de::Error::custom("expected a time of day such as 09:00"))
    }
}

/// A run that is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Occurrence {
    /// 0 is the first.
    pub number: u32,
    pub due_at: DateTime<Utc>,
}

impl Calendar {
    /// The run with this number, if there is one.
    pub fn occurrence(&self, number: u32) -> Option<Occurrence> {
        if self.times.is_some_and(|times| number >= u32::from(times.get())) {
            return None;
        }
        let date = self.date(number)?;
        if self.last_on.is_some_and(|last| date > last) {
            return None;
        }
        let due_at = self.instant(date)?;
        Some(Occurrence { number, due_at })
    }

    /// The runs from this number on.
    pub fn from(&self, number: u32) -> impl Iterator<Item = Occurrence> {
        (number..).map_while(|number| self.occurrence(number))
    }

    /// The first run from this number on that is after `now`.
    pub fn next_after(&self, number: u32, now: DateTime<Utc>) -> Option<Occurrence> {
        self.from(number).find(|occurrence| occurrence.due_at > now)
    }

    fn date(&self, number: u32) -> Option<NaiveDate> {
        let Some(repeat) = self.repeat else {
            return (number == 0).then_some(self.first_on);
        };
        let units = number.checked_mul(u32::from(repeat.every.get()))?;
        match repeat.unit {
            Unit::Day => self.first_on.checked_add_days(Days::new(units.into())),
            Unit::Week => self
                .first_on
                .checked_add_days(Days::new(u64::from(units).checked_mul(7)?)),
            Unit::Month => self.first_on.checked_add_months(Months::new(units)),
            Unit::Year => self
                .first_on
                .checked_add_months(Months::new(units.checked_mul(12)?)),
        }
    }

    fn instant(&self, date: NaiveDate) -> Option<DateTime<Utc>> {
        let local = date.and_time(self.at.0);
        // The clocks skip half an hour or an hour as a rule, and whole days where a country moves across the date line.
        let candidates =
            (0..=100).filter_map(|quarters| local.checked_add_signed(TimeDelta::minutes(15 * quarters)));
        let zone = self.time_zone.0;
        candidates
            .filter_map(|local| zone.from_local_datetime(&local).earliest())
            .map(|instant| instant.with_timezone(&Utc))
            .next()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn calendar(first_on: &str, at: &str, zone: &str, repeat: Option<(u16, Unit)>) -> Calendar {
        Calendar {
            first_on: first_on.parse().unwrap(),
            at: TimeOfDay(NaiveTime::parse_from_str(at, "%H:%M").unwrap()),
            time_zone: zone.parse().unwrap(),
            repeat: repeat.map(|(every, unit)| Repeat {
                every: UpTo::new(every).unwrap(),
                unit,
            }),
            last_on: None,
            times: None,
        }
    }

    fn first(calendar: &Calendar, count: usize) -> Vec<String> {
        let runs = calendar.from(0).take(count);
        runs.map(|run| run.due_at.format("%Y-%m-%dT%H:%M").to_string())
            .collect()
    }

    #[test]
    fn a_month_is_counted_from_the_first_day() {
        let monthly = calendar("2027-01-31", "09:00", "UTC", Some((1, Unit::Month)));
        let expected = [
            "2027-01-31T09:00",
            "2027-02-28T09:00",
            "2027-03-31T09:00",
            "2027-04-30T09:00",
        ];
        assert_eq!(first(&monthly, 4), expected);
        let leap = calendar("2028-02-29", "09:00", "UTC", Some((1, Unit::Year)));
        assert_eq!(first(&leap, 2), ["2028-02-29T09:00", "2029-02-28T09:00"]);
    }

    #[test]
    fn the_time_of_day_stays_when_the_clocks_change() {
        let daily = calendar("2027-03-27", "09:00", "Europe/Berlin", Some((1, Unit::Day)));
        assert_eq!(first(&daily, 2), ["2027-03-27T08:00", "2027-03-28T07:00"]);
        // 02:30 does not exist on the 28th of March, and exists twice on the 31st of October.
        let skipped = calendar("2027-03-28", "02:30", "Europe/Berlin", None);
        assert_eq!(first(&skipped, 2), ["2027-03-28T01:00"]);
        let twice = calendar("2027-10-31", "02:30", "Europe/Berlin", None);
        assert_eq!(first(&twice, 2), ["2027-10-31T00:30"]);
        // A day that Samoa never had.
        let missing_day = calendar("2011-12-30", "12:00", "Pacific/Apia", None);
        assert_eq!(first(&missing_day, 1), ["2011-12-30T10:00"]);
    }

    #[test]
    fn it_ends_after_a_day_or_so_many_times() {
        let weekly = calendar("2027-01-01", "00:00", "UTC", Some((2, Unit::Week)));
        let until = Calendar {
            last_on: Some("2027-01-29".parse().unwrap()),
            ..weekly.clone()
        };
        assert_eq!(first(&until, 9).len(), 3);
        let three = Calendar {
            times: UpTo::new(3),
            ..weekly
        };
        assert_eq!(first(&three, 9).len(), 3);
        assert_eq!(
            three
                .next_after(0, "2027-01-15T00:00:00Z".parse().unwrap())
                .unwrap()
                .number,
            2
        );
        assert_eq!(three.next_after(0, "2027-01-29T00:00:00Z".parse().unwrap()), None);
    }

    proptest! {
        #[test]
        fn runs_come_one_after_the_other(
            day in 0_u64..20_000, minute in 0_u32..1440, zone in 0..chrono_tz::TZ_VARIANTS.len(),
            every in 1_u16..40, unit in 0_usize..4,
        ) {
            let calendar = Calendar {
                first_on: NaiveDate::from_ymd_opt(1990, 1, 1).unwrap() + Days::new(day),
                at: TimeOfDay(NaiveTime::from_hms_opt(minute / 60, minute % 60, 0).unwrap()),
                time_zone: TimeZone(chrono_tz::TZ_VARIANTS[zone]),
                ..calendar("2000-01-01", "00:00", "UTC", Some((every, Unit::ALL[unit])))
            };
            let runs: Vec<_> = calendar.from(0).take(30).collect();
            prop_assert_eq!(runs.len(), 30);
            prop_assert!(runs.windows(2).all(|pair| pair[0].due_at < pair[1].due_at));
        }
    }
}

//! Cron expressions: five fields, names, ranges, lists and steps, and `@daily` with its like.

use super::Problem;
use jiff::civil::Date;

/// A cron expression: the values of each field as bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cron {
    pub(super) minutes: u64,
    pub(super) hours: u64,
    days: u64,
    months: u64,
    weekdays: u64,
}

/// A field: what it is called, its least and greatest value, and names of values.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];
const MINUTE: Field = Field { name: "minute", least: 0, most: 59, names: &[] };
const HOUR: Field = Field { name: "hour", least: 0, most: 23, names: &[] };
const DAY: Field = Field { name: "day of the month", least: 1, most: 31, names: &[] };
const MONTH: Field = Field { name: "month", least: 1, most: 12, names: &MONTHS };
/// 0 and 7 are both Sunday.
const WEEKDAY: Field = Field { name: "day of the week", least: 0, most: 7, names: &WEEKDAYS };
/// Days of each month in a leap year.
const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

fn bit(value: u32) -> u64 {
    1_u64.checked_shl(value).unwrap_or_default()
}

/// The values from `from` to `to`.
const fn bits(from: u32, to: u32) -> u64 {
    (u64::MAX >> (63 - to)) & (u64::MAX << from)
}

impl Field {
    fn wrong(&self, text: &str) -> Problem {
        let next = match self.names.first().zip(self.names.last()) {
            Some((first, last)) => format!("use {} to {}, or {first} to {last}", self.least, self.most),
            None => format!("use {} to {}", self.least, self.most),
        };
        Problem::new(format!("invalid {} `{text}`", self.name)).next(next)
    }

    fn value(&self, text: &str) -> Option<u32> {
        if let Some(at) = self.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
            return u32::try_from(at).ok()?.checked_add(self.least);
        }
        let is_number = !text.is_empty() && text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse().ok().filter(|value| is_number && (self.least..=self.most).contains(value))
    }

    /// One part of a list: `*`, `5`, `1-5`, each perhaps with `/2`.
    fn part(&self, text: &str) -> Result<u64, Problem> {
        let wrong = || self.wrong(text);
        let (range, step) = match text.split_once('/') {
            Some((range, step)) => {
                let is_number =
                    !step.is_empty() && step.len() <= 2 && step.bytes().all(|byte| byte.is_ascii_digit());
                let step =
                    step.parse::<u32>().ok().filter(|step| is_number && *step > 0).ok_or_else(wrong)?;
                (range, Some(step))
            }
            None => (text, None),
        };
        let (from, to) = match (range, range.split_once('-')) {
            ("*", _) => (self.least, self.most),
            (_, Some((from, to))) => {
                let from = self.value(from).ok_or_else(wrong)?;
                // `sat-sun` ends with the other Sunday.
                let to = match self.value(to).ok_or_else(wrong)? {
                    0 if self.most == WEEKDAY.most && from > 0 => 7,
                    to => to,
                };
                (from, to)
            }
            (one, None) => {
                let one = self.value(one).ok_or_else(wrong)?;
                // As cron has it, a single value with a step goes on to the end.
                (one, if step.is_some() { self.most } else { one })
            }
        };
        if from > to {
            return Err(self.wrong(text));
        }
        let step = usize::try_from(step.unwrap_or(1)).map_err(|_| wrong())?;
        Ok((from..=to).step_by(step).fold(0, |all, value| all | bit(value)))
    }

    fn parse(&self, text: &str) -> Result<u64, Problem> {
        text.split(',').try_fold(0, |all, part| Ok(all | self.part(part)?))
    }
}

impl Cron {
    /// Parses an expression of five fields, or `@hourly`, `@daily`, `@midnight`, `@weekly`, `@monthly`, `@yearly`.
    ///
    /// # Errors
    /// When it is none, or no day fits it.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let text = text.trim();
        if let Some(name) = text.strip_prefix('@') {
            return Self::named(name, text);
        }
        let fields: Vec<&str> = text.split_whitespace().collect();
        let [minute, hour, day, month, weekday] = fields.as_slice() else {
            let next = match fields.len() {
                6 => "use five fields: there are no seconds",
                _ => "use five fields: minute, hour, day of the month, month, day of the week",
            };
            return Err(Problem::new(format!("invalid cron expression `{text}`")).next(next));
        };
        let weekdays = WEEKDAY.parse(weekday)?;
        let cron = Self {
            minutes: MINUTE.parse(minute)?,
            hours: HOUR.parse(hour)?,
            days: DAY.parse(day)?,
            months: MONTH.parse(month)?,
            weekdays: (weekdays | weekdays >> 7) & bits(0, 6),
        };
        if !cron.can_fire() {
            let next = "no such day exists in these months";
            return Err(Problem::new(format!("`{text}` never fires")).next(next));
        }
        Ok(cron)
    }

    fn named(name: &str, text: &str) -> Result<Self, Problem> {
        Self::parse(match name {
            "hourly" => "0 * * * *",
            "daily" | "midnight" => "0 0 * * *",
            "weekly" => "0 0 * * 0",
            "monthly" => "0 0 1 * *",
            "yearly" | "annually" => "0 0 1 1 *",
            _ => {
                let next = "use @hourly, @daily, @weekly, @monthly or @yearly";
                return Err(Problem::new(format!("invalid cron expression `{text}`")).next(next));
            }
        })
    }

    /// Each day at a time like `03:15`.
    pub(super) fn daily(text: &str) -> Result<Self, Problem> {
        let parts = text.trim().split_once(':').filter(|(_, minute)| minute.len() == 2);
        let parts = parts.and_then(|(hour, minute)| Some((HOUR.value(hour)?, MINUTE.value(minute)?)));
        let (hour, minute) = parts.ok_or_else(|| {
            Problem::new(format!("invalid time of day `{text}`")).next("use a time such as 03:15")
        })?;
        Ok(Self { minutes: bit(minute), hours: bit(hour), ..Self::parse("0 0 * * *")? })
    }

    /// Whether some day of some year fits.
    fn can_fire(&self) -> bool {
        let by_day = || {
            let lengths = (1..).zip(LENGTHS);
            lengths
                .into_iter()
                .any(|(month, length)| self.months & bit(month) != 0 && self.days & bits(1, length) != 0)
        };
        !self.days_set() || self.weekdays_set() || by_day()
    }

    fn days_set(&self) -> bool {
        self.days != bits(1, 31)
    }

    fn weekdays_set(&self) -> bool {
        self.weekdays != bits(0, 6)
    }

    /// Whether every hour is wanted: then real time counts, and not what clocks show.
    pub(super) fn is_every_hour(&self) -> bool {
        self.hours == bits(0, 23)
    }

    /// Whether it wants to run on that day. Where both kinds of days are set, one of them is enough, as cron has it.
    pub(super) fn has_day(&self, date: Date) -> bool {
        let number = |value: i8| u32::try_from(value).unwrap_or(63);
        if self.months & bit(number(date.month())) == 0 {
            return false;
        }
        let day = self.days & bit(number(date.day())) != 0;
        let weekday = self.weekdays & bit(number(date.weekday().to_sunday_zero_offset())) != 0;
        match (self.days_set(), self.weekdays_set()) {
            (true, true) => day || weekday,
            _ => day && weekday,
        }
    }

    /// The minutes of an hour, in order.
    pub(super) fn minutes(&self) -> impl Iterator<Item = i8> {
        values(self.minutes)
    }

    /// The hours of a day, in order.
    pub(super) fn hours(&self) -> impl Iterator<Item = i8> {
        values(self.hours)
    }

    /// What it says.
    pub(super) fn words(&self) -> String {
        let minutes: Vec<String> = values(self.minutes).map(|minute| format!("{minute:02}")).collect();
        let hours: Vec<String> = values(self.hours).map(|hour| format!("{hour:02}")).collect();
        let one_minute = minutes.first().filter(|_| minutes.len() == 1);
        let words = match (self.is_every_hour(), one_minute) {
            (true, Some(minute)) if minute == "00" => "every hour".to_owned(),
            (true, Some(minute)) => format!("every hour at minute {minute}"),
            (true, None) => match step(self.minutes, 60) {
                Some(1) => "every minute".to_owned(),
                Some(step) => format!("every {step} minutes"),
                None => format!("every hour at the minutes {}", listed(&minutes)),
            },
            (false, Some(minute)) => match step(self.hours, 24) {
                Some(step) if hours.len() > 2 => format!("every {step} hours from 00:{minute} on"),
                _ => {
                    let times: Vec<String> = hours.iter().map(|hour| format!("{hour}:{minute}")).collect();
                    format!("at {}", listed(&times))
                }
            },
            (false, None) => {
                let which = match step(self.minutes, 60) {
                    Some(1) => "every minute".to_owned(),
                    Some(step) => format!("every {step} minutes"),
                    None => format!("at the minutes {}", listed(&minutes)),
                };
                let of = if hours.len() == 1 { "hour" } else { "hours" };
                format!("{which} of the {of} {}", listed(&hours))
            }
        };
        let days: Vec<String> = values(self.days).map(|day| day.to_string()).collect();
        let days = format!("on day {} of the month", listed(&days));
        let when = match (self.days_set(), self.weekdays_set()) {
            (false, false) => "every day".to_owned(),
            (true, false) => days,
            (false, true) => self.weekday_words(),
            (true, true) => format!("{days}, and also {}", self.weekday_words()),
        };
        let months: Vec<String> = values(self.months).map(|month| name(&MONTH_NAMES, month - 1)).collect();
        match self.months == bits(1, 12) {
            true => format!("{words}, {when}"),
            false => format!("{words}, {when}, in {}", listed(&months)),
        }
    }

    fn weekday_words(&self) -> String {
        match self.weekdays {
            weekdays if weekdays == bits(1, 5) => "from Monday to Friday".to_owned(),
            weekdays => {
                // The week of people ends with its Sunday.
                let from_monday = values(weekdays & !1).chain(values(weekdays & 1));
                let all: Vec<String> = from_monday.map(|day| name(&WEEKDAY_NAMES, day)).collect();
                format!("on {}", listed(&all))
            }
        }
    }
}

const WEEKDAY_NAMES: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTH_NAMES: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

fn name(names: &[&str], at: i8) -> String {
    usize::try_from(at).ok().and_then(|at| names.get(at)).copied().unwrap_or_default().to_owned()
}

/// `1`, `1 and 2`, `1, 2 and 3`.
fn listed(all: &[String]) -> String {
    match all.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => all.concat(),
    }
}

/// How far apart the values are, where they are as far apart over the end, too, and begin with 0.
fn step(bits: u64, whole: u32) -> Option<u32> {
    let count = bits.count_ones();
    let step = whole.checked_div(count).filter(|step| step * count == whole && *step < whole)?;
    let expected = (0..count).fold(0, |all, number| all | bit(number * step));
    (bits == expected).then_some(step)
}

fn values(bits: u64) -> impl Iterator<Item = i8> {
    let mut left = bits;
    std::iter::from_fn(move || {
        let value = i8::try_from(left.trailing_zeros()).ok().filter(|value| *value < 64)?;
        left &= left.wrapping_sub(1);
        Some(value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> String {
        Cron::parse(text).unwrap().words()
    }

    #[test]
    fn names_ranges_lists_and_steps_are_understood_and_0_and_7_are_sunday() {
        assert_eq!(Cron::parse("0 0 * * 0"), Cron::parse("0 0 * * 7"));
        assert_eq!(Cron::parse("0 0 * * sat-sun"), Cron::parse("0 0 * * 0,6"));
        assert_eq!(Cron::parse("0 0 * * 5-7"), Cron::parse("0 0 * * fri,SAT,Sun"));
        assert_eq!(Cron::parse("*/20 * * jan-mar *"), Cron::parse("0,20,40 0-23 1-31 1,2,3 0-6"));
        assert_eq!(Cron::parse("50/5 1-9/4 * * *"), Cron::parse("50,55 1,5,9 * * *"));
        assert_eq!(Cron::parse("@weekly"), Cron::parse("0 0 * * 0"));
        for (text, expected) in [
            ("15 3 * * *", "at 03:15, every day"),
            ("0 4 13 * fri", "at 04:00, on day 13 of the month, and also on Friday"),
            ("*/30 * * 2 *", "every 30 minutes, every day, in February"),
            ("* * * * *", "every minute, every day"),
            ("@hourly", "every hour, every day"),
            ("7 * * * *", "every hour at minute 07, every day"),
            ("0,10,30 * * * *", "every hour at the minutes 00, 10 and 30, every day"),
            ("5 */6 * * *", "every 6 hours from 00:05 on, every day"),
            ("30 2,14 * * *", "at 02:30 and 14:30, every day"),
            ("0 0,12 * * *", "at 00:00 and 12:00, every day"),
            ("*/15 9-11 * * 1-5", "every 15 minutes of the hours 09, 10 and 11, from Monday to Friday"),
            ("* 3 * * *", "every minute of the hour 03, every day"),
            ("5,6 3 * * *", "at the minutes 05 and 06 of the hour 03, every day"),
            ("0 4 * * sun,sat", "at 04:00, on Saturday and Sunday"),
            ("@monthly", "at 00:00, on day 1 of the month"),
            ("0 4 1,15 1,7 *", "at 04:00, on day 1 and 15 of the month, in January and July"),
        ] {
            assert_eq!(words(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_expression_is_refused_and_so_is_one_that_never_fires() {
        for bad in [
            "",
            "* * * *",
            "0 3 * * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * 32 * *",
            "* * * 13 *",
            "* * * * 8",
            "5-1 * * * *",
            "*/0 * * * *",
            "1,,2 * * * *",
            "-1 * * * *",
            "+1 * * * *",
            "1-2-3 * * * *",
            "* * * * mond",
            "@reboot",
            "@",
            "0 0 30 2 *",
            "0 0 31 4,6,9,11 *",
            "1/ * * * *",
            "ü * * * *",
        ] {
            let error = Cron::parse(bad).unwrap_err();
            assert!(error.next.is_some(), "{bad}: {error}");
        }
        assert!(Cron::parse("0 0 29 2 *").is_ok());
        assert!(Cron::parse("0 0 30 2 mon").is_ok(), "Mondays of February");
        for bad in ["3", "03:1", "24:00", "03:60", "3:15:00", ":15", "-3:15"] {
            assert!(Cron::daily(bad).is_err(), "{bad}");
        }
    }
}

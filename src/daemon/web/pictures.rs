//! Charts as SVG. Text never shrinks: places along x are per cent, paths are stretched in a box of their own. Each has
//! a title, what it shows in words, and stands beside a table that says the same.

use super::words;
use maud::{Markup, PreEscaped, html};

/// The state of a day, the worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Day {
    /// Nothing was planned.
    None,
    /// All was good.
    Good,
    /// Something was tried twice, is suspect, or was skipped.
    Warning,
    /// A slot was missed.
    Missed,
    /// A run failed.
    Failed,
}

impl Day {
    /// Its word.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::None => "not planned",
            Self::Good => "good",
            Self::Warning => "warning",
            Self::Missed => "missed",
            Self::Failed => "failed",
        }
    }

    fn shape(self) -> &'static str {
        match self {
            Self::Good => r#"<rect class="fg" width="12" height="12" rx="2.5"/>"#,
            Self::Warning => {
                r#"<rect class="fw" width="12" height="12" rx="2.5"/><path class="knf" d="M6 2.6 9.6 9H2.4z"/>"#
            }
            Self::Failed => {
                r#"<rect class="fb" width="12" height="12" rx="2.5"/><path class="kn" d="M3.4 3.4l5.2 5.2m0-5.2-5.2 5.2"/>"#
            }
            Self::Missed => {
                r#"<rect class="fm" x=".9" y=".9" width="10.2" height="10.2" rx="2"/><path class="km" d="M3 9l6-6"/>"#
            }
            Self::None => r#"<circle class="fi" cx="6" cy="6" r="1.4"/>"#,
        }
    }
}

/// The key to the states of days: how many of each.
pub(super) fn day_key(days: &[(jiff::civil::Date, Day, String)]) -> Markup {
    html! {
        dl.pairs {
            @for state in [Day::Good, Day::Warning, Day::Failed, Day::Missed, Day::None] {
                div {
                    dt { svg viewBox="0 0 12 12" aria-hidden="true" { (PreEscaped(state.shape())) } (state.word()) }
                    dd { (days.iter().filter(|(_, own, _)| *own == state).count()) " d" }
                }
            }
        }
    }
}

/// A year of days: a column a week, from Monday on; a cell the worst of a day.
pub(super) fn year(days: &[(jiff::civil::Date, Day, String)]) -> Markup {
    let weeks: Vec<&[(jiff::civil::Date, Day, String)]> = days.chunks(7).collect();
    let half = weeks.len().div_ceil(2);
    html! {
        div.heat {
            @for (at, part) in weeks.chunks(half.max(1)).enumerate() { (half_year(at, part)) }
        }
    }
}

fn half_year(at: usize, weeks: &[&[(jiff::civil::Date, Day, String)]]) -> Markup {
    const PITCH: usize = 15;
    let left = if at == 0 { 34 } else { 0 };
    let (width, height) = ((weeks.len() * PITCH).saturating_sub(3), 17 + 7 * PITCH - 3);
    let mut inside = String::new();
    let mut month = None;
    for (week, days) in weeks.iter().enumerate() {
        let x = week * PITCH;
        if let Some((first, ..)) = days.first()
            && month != Some(first.month())
        {
            if first.day() <= 7 && week + 2 < weeks.len() {
                inside += &format!(r#"<text x="{x}" y="9">{}</text>"#, first.strftime("%b"));
            }
            month = Some(first.month());
        }
        for (row, (date, state, why)) in days.iter().enumerate() {
            let y = 17 + row * PITCH;
            let why = if why.is_empty() { String::new() } else { format!(", {why}") };
            let title = escaped(&format!("{}: {}{why}", date.strftime("%a %-d %b %Y"), state.word()));
            inside += &format!(
                r#"<g class="m" transform="translate({x} {y})">{}<title>{title}</title></g>"#,
                state.shape()
            );
        }
    }
    if at == 0 {
        for (row, word) in [(0, "Mon"), (2, "Wed"), (4, "Fri"), (6, "Sun")] {
            inside += &format!(r#"<text x="-34" y="{}">{word}</text>"#, 17 + row * PITCH + 10);
        }
    }
    let number = at + 1;
    let span = weeks.first().and_then(|week| week.first()).zip(weeks.last().and_then(|week| week.last()));
    let span = span.map_or_else(String::new, |((from, ..), (to, ..))| {
        format!("{} to {}", from.strftime("%B %Y"), to.strftime("%B %Y"))
    });
    PreEscaped(format!(
        r#"<svg class="h{number}" width="{}" height="{height}" viewBox="-{left} 0 {} {height}" role="img" aria-labelledby="h{number}t h{number}d"><title id="h{number}t">State of each day, {span}</title><desc id="h{number}d">A column is a week from Monday to Sunday, a cell the worst result of that day. Days that were not good are listed in the table below.</desc>{inside}</svg>"#,
        width + left,
        width + left
    ))
}

fn escaped(text: &str) -> String {
    let line = words::line(text);
    line.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A line of a chart: its class, its points from 0 to 1 along x, and whether what lies below is filled.
pub(super) type Line<'a> = (&'a str, Vec<(f64, f64)>, bool);

/// A chart's frame: what it is called, what it shows in words, the size of its axis.
pub(super) struct Plot<'a> {
    /// A name for its parts, other than all on the page.
    pub id: &'a str,
    /// What it is.
    pub title: &'a str,
    /// What it shows, in words.
    pub finding: &'a str,
    /// The largest value.
    pub most: f64,
    /// Words of a value on the axis.
    pub label: &'a dyn Fn(f64) -> String,
    /// Words below: where in per cent, and what.
    pub below: Vec<(f64, String)>,
}

const HEIGHT: f64 = 180.0;

/// A round number that is no smaller.
pub(super) fn round_up(value: f64) -> f64 {
    if value <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(value.log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 3.0, 4.0, 6.0, 8.0, 10.0];
    steps.into_iter().map(|step| step * power).find(|round| *round >= value * 1.02).unwrap_or(power * 10.0)
}

impl Plot<'_> {
    fn y(&self, value: f64) -> f64 {
        HEIGHT - value / self.most * HEIGHT
    }

    fn frame(&self, inner: &str, over: &str) -> Markup {
        let (id, title, finding) = (self.id, escaped(self.title), escaped(self.finding));
        let ticks: Vec<f64> = (0..=4).map(|at| self.most * f64::from(at) / 4.0).collect();
        let axis: String = ticks
            .iter()
            .map(|tick| {
                format!(
                    r#"<text x="58" y="{:.1}" text-anchor="end">{}</text>"#,
                    self.y(*tick) + 4.0,
                    escaped(&(self.label)(*tick))
                )
            })
            .collect();
        let grid: String = ticks
            .iter()
            .map(|tick| {
                let class = if *tick == 0.0 { "axis" } else { "grid" };
                format!(
                    r#"<line class="{class}" x1="0" x2="100%" y1="{y:.1}" y2="{y:.1}"/>"#,
                    y = self.y(*tick)
                )
            })
            .collect();
        let below: String = self
            .below
            .iter()
            .map(|(x, text)| {
                let anchor = if *x < 5.0 {
                    "start"
                } else if *x > 95.0 {
                    "end"
                } else {
                    "middle"
                };
                format!(
                    r#"<text x="{x:.2}%" y="{:.0}" text-anchor="{anchor}">{}</text>"#,
                    HEIGHT + 18.0,
                    escaped(text)
                )
            })
            .collect();
        let whole = HEIGHT + 24.0;
        PreEscaped(format!(
            r#"<figure class="chart"><div class="plot"><svg class="plot-y" width="64" height="{whole}" aria-hidden="true">{axis}</svg><svg class="plot-main" width="100%" height="{whole}" role="img" aria-labelledby="{id}t {id}d"><title id="{id}t">{title}</title><desc id="{id}d">{finding}</desc>{grid}<svg width="100%" height="{HEIGHT}" viewBox="0 0 1000 {HEIGHT}" preserveAspectRatio="none" overflow="visible">{inner}</svg>{below}{over}</svg></div></figure>"#
        ))
    }

    /// Lines: for each its class and values from 0 to 1 along x; and by x what a pointer is told.
    pub(super) fn lines(&self, lines: &[Line<'_>], hints: &[(f64, String)]) -> Markup {
        let mut inner = String::new();
        for (class, points, is_filled) in lines {
            let places: Vec<String> =
                points.iter().map(|(x, value)| format!("{:.1} {:.1}", x * 1000.0, self.y(*value))).collect();
            let path = format!("M{}", places.join("L"));
            if let (true, Some((first, _)), Some((last, _))) = (*is_filled, points.first(), points.last()) {
                inner += &format!(
                    r#"<path class="ar {class}" d="{path}L{:.1} {HEIGHT}L{:.1} {HEIGHT}Z"/>"#,
                    last * 1000.0,
                    first * 1000.0
                );
            }
            inner += &format!(r#"<path class="ln {class}" d="{path}"/>"#);
        }
        self.frame(&inner, &hits(hints))
    }

    /// Columns, each of several parts from below; and what a pointer is told of each.
    pub(super) fn columns(&self, columns: &[Vec<(&str, f64)>], hints: &[String]) -> Markup {
        let wide = 1000.0 / (columns.len().max(1) as f64);
        let mut inner = String::new();
        for (at, parts) in columns.iter().enumerate() {
            let mut y = HEIGHT;
            for (class, value) in parts.iter().filter(|(_, value)| *value > 0.0) {
                let high = (value / self.most * HEIGHT).max(1.0);
                y -= high;
                inner += &format!(
                    r#"<rect class="{class}" x="{:.1}" y="{y:.1}" width="{:.1}" height="{:.1}"/>"#,
                    wide * (at as f64) + wide * 0.14,
                    wide * 0.72,
                    (high - 0.8).max(0.6)
                );
            }
        }
        let hits: String = hints.iter().enumerate().map(|(at, text)| format!(
            r#"<rect class="hit m" x="{:.2}%" width="{:.2}%" y="0" height="{HEIGHT}"><title>{}</title></rect>"#,
            wide * (at as f64) / 10.0, wide / 10.0, escaped_lines(text)
        )).collect();
        self.frame(&inner, &hits)
    }
}

fn escaped_lines(text: &str) -> String {
    text.lines().map(escaped).collect::<Vec<_>>().join("\n")
}

fn hits(hints: &[(f64, String)]) -> String {
    let wide = 100.0 / (hints.len().max(1) as f64);
    hints.iter().map(|(x, text)| format!(
        r#"<rect class="hit m" x="{:.2}%" width="{wide:.2}%" y="0" height="{HEIGHT}"><title>{}</title></rect>"#,
        (x * 100.0 - wide / 2.0).max(0.0), escaped_lines(text)
    )).collect()
}

/// A restore point: hours ago, its kind, and what a pointer is told.
pub(super) type Point = (f64, &'static str, String);

const LANES: [(&str, &str, f64); 4] = [
    ("monthly", "Monthly", 26.0),
    ("weekly", "Weekly", 58.0),
    ("daily", "Daily", 90.0),
    ("manual", "Manual", 122.0),
];

fn point(kind: &str) -> &'static str {
    match kind {
        "monthly" => r#"<rect class="rp m" x="-6" y="-6" width="12" height="12" rx="1.5"/>"#,
        "weekly" => r#"<path class="rp w" d="M0-7.5 7.5 0 0 7.5-7.5 0z"/>"#,
        "daily" => r#"<circle class="rp d" r="6"/>"#,
        _ => r#"<path class="rp p" d="M0-7 7 5.5H-7z"/>"#,
    }
}

/// Restore points on a line that is the logarithm of their age, the newest at the right; holes, as from and to in
/// hours, are hatched.
pub(super) fn restore_points(points: &[Point], holes: &[(f64, f64, String)], finding: &str) -> Markup {
    let oldest = points.iter().map(|(hours, ..)| *hours).fold(200.0_f64, f64::max) * 1.15;
    let x = |hours: f64| 98.5 - 97.0 * (hours.max(1.0).ln() / oldest.ln());
    let high = 144.0;
    let lanes: String = LANES
        .iter()
        .map(|(.., y)| format!(r#"<line class="grid" x1="0" x2="100%" y1="{y}" y2="{y}"/>"#))
        .collect();
    let names: String =
        LANES.iter().map(|(_, word, y)| format!(r#"<text x="0" y="{}">{word}</text>"#, y + 4.0)).collect();
    let ticks = [
        (1.0, "1 h", ""),
        (6.0, "6 h", "t2"),
        (24.0, "1 d", ""),
        (72.0, "3 d", "t2"),
        (168.0, "1 wk", ""),
        (720.0, "1 mo", ""),
        (2160.0, "3 mo", "t2"),
        (8760.0, "1 yr", ""),
    ];
    let ticks: String = ticks.iter().filter(|(hours, ..)| *hours <= oldest).map(|(hours, word, class)| {
        let anchor = if *hours < 2.0 { "end" } else { "middle" };
        format!(r#"<line class="grid" x1="{x:.2}%" x2="{x:.2}%" y1="8" y2="{high}"/><text class="{class}" x="{x:.2}%" y="{}" text-anchor="{anchor}">{word}</text>"#, high + 18.0, x = x(*hours))
    }).collect();
    let holes: String = holes.iter().map(|(from, to, text)| {
        format!(r#"<g class="m"><rect x="{:.2}%" y="8" width="{:.2}%" height="{}" fill="url(#hatch)"/><title>{}</title></g>"#, x(*to), (x(*from) - x(*to)).max(0.3), high - 8.0, escaped(text))
    }).collect();
    let dots: String = points
        .iter()
        .map(|(hours, kind, text)| {
            let y = LANES.iter().find(|(name, ..)| name == kind).map_or(122.0, |(.., y)| *y);
            format!(
                r#"<svg class="m" x="{:.2}%" y="{y}" overflow="visible">{}<title>{}</title></svg>"#,
                x(*hours),
                point(kind),
                escaped(text)
            )
        })
        .collect();
    let whole = high + 24.0;
    let chart = PreEscaped(format!(
        r#"<figure class="chart"><div class="plot"><svg class="plot-y" width="60" height="{whole}" aria-hidden="true">{names}</svg><svg class="plot-main" width="100%" height="{whole}" role="img" aria-labelledby="rpt rpd"><title id="rpt">Restore points by age, logarithmic</title><desc id="rpd">{}</desc><defs><pattern id="hatch" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path class="hatch-l" d="M0 0V7"/></pattern></defs>{ticks}{lanes}<line class="axis" x1="0" x2="100%" y1="{high}" y2="{high}"/>{holes}{dots}</svg></div></figure>"#,
        escaped(finding)
    ));
    html! {
        (chart)
        ul.legend {
            @for (kind, word, _) in LANES.iter().rev() { li { svg viewBox="-8 -8 16 16" aria-hidden="true" { (PreEscaped(point(kind))) } (word) } }
            li { (PreEscaped(r#"<svg viewBox="0 0 14 14" aria-hidden="true"><rect class="hatch-b" x=".5" y=".5" width="13" height="13"/><path class="hatch-l" d="m1 9 8-8M4 13l9-9"/></svg>"#)) "Hole wider than the data that may be lost" }
        }
    }
}

/// A bar: a part of a whole.
pub(super) fn bar(value: u64, of: u64) -> Markup {
    let wide = if value == 0 { 0.0 } else { (100.0 * value as f64 / of.max(1) as f64).max(0.8) };
    PreEscaped(format!(
        r#"<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect class="t" width="100" height="8" rx="2"/><rect class="v" width="{wide:.1}" height="8" rx="2"/></svg>"#
    ))
}

/// What came and what went, from the middle.
pub(super) fn up_down(change: i64, most: u64) -> Markup {
    let part = (50.0 * change.unsigned_abs() as f64 / most.max(1) as f64).max(0.7);
    let shape = match change {
        0 => String::new(),
        1.. => format!(r#"<rect class="plus" x="50" width="{part:.1}" height="8"/>"#),
        _ => format!(r#"<rect class="minus" x="{:.1}" width="{part:.1}" height="8"/>"#, 50.0 - part),
    };
    PreEscaped(format!(
        r#"<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect class="t" width="100" height="8" rx="2"/>{shape}<path class="mid" d="M50-2v12"/></svg>"#
    ))
}

/// The last runs of a job, the oldest first: good, good at a later try, failed.
pub(super) fn strip(runs: &[(bool, u32)]) -> Markup {
    let shapes: String = runs.iter().enumerate().map(|(at, (is_good, attempts))| {
        let x = at * 9;
        match (is_good, attempts) {
            (true, 0 | 1) => format!(r#"<rect class="fg" x="{x}" y="4" width="6" height="14" rx="1"/>"#),
            (true, _) => format!(r#"<rect class="fw" x="{x}" y="4" width="6" height="14" rx="1"/><path class="fw" d="M{x} 2h6l-3-4z"/>"#),
            (false, _) => format!(r#"<path class="fb" d="M{x} 14h6v4h-6z"/><path d="M{x} 4l6 6m0-6-6 6" class="sx"/>"#),
        }
    }).collect();
    PreEscaped(format!(r#"<svg class="strip" viewBox="0 -3 124 22" aria-hidden="true">{shapes}</svg>"#))
}

/// A line that shows form only.
pub(super) fn spark(values: &[u64]) -> Markup {
    let (least, most) =
        (values.iter().min().copied().unwrap_or_default(), values.iter().max().copied().unwrap_or_default());
    if values.len() < 2 {
        return html! { span.faint.xs { "one backup" } };
    }
    let y = |value: u64| 22.0 - (value - least) as f64 / (most - least).max(1) as f64 * 20.0;
    let step = 1000.0 / (values.len() - 1) as f64;
    let places: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(at, value)| format!("{:.0} {:.1}", step * at as f64, y(*value)))
        .collect();
    let last = values.last().map_or(22.0, |value| y(*value));
    PreEscaped(format!(
        r#"<svg class="spark wide" height="24" aria-hidden="true"><svg width="100%" height="24" viewBox="0 0 1000 24" preserveAspectRatio="none" overflow="visible"><path class="ln c1" d="M{}"/></svg><circle cx="100%" cy="{last:.1}" r="2.25" class="col"/></svg>"#,
        places.join("L")
    ))
}

//! Icons: drawn by hand, 16 by 16, their colour is the text's.

use maud::{Markup, PreEscaped};

/// An icon. It says nothing that a word beside it does not.
pub(super) fn icon(name: &str) -> Markup {
    icon_with(name, "")
}

/// An icon with a class.
pub(super) fn icon_with(name: &str, class: &str) -> Markup {
    let space = if class.is_empty() { "" } else { " " };
    PreEscaped(format!(
        r#"<svg class="i{space}{class}" viewBox="0 0 16 16" aria-hidden="true">{}</svg>"#,
        drawing(name)
    ))
}

fn drawing(name: &str) -> &'static str {
    match name {
        "good" => r#"<circle class="f" cx="8" cy="8" r="7"/><path class="k" d="m4.9 8.2 2.1 2.1 4.1-4.4"/>"#,
        "warn" => {
            r#"<path class="f" d="M8 1.2 15.4 14a.6.6 0 0 1-.5.9H1.1a.6.6 0 0 1-.5-.9z"/><path class="k" d="M8 6v3.6M8 12v.1"/>"#
        }
        "bad" => {
            r#"<path class="f" d="M5 1h6l4 4v6l-4 4H5l-4-4V5z"/><path class="k" d="m5.6 5.6 4.8 4.8m0-4.8-4.8 4.8"/>"#
        }
        "miss" => r#"<circle cx="8" cy="8" r="6.2" stroke-dasharray="3.2 2.3"/><path d="M8 4.8V8l2 1.6"/>"#,
        "busy" => {
            r#"<g class="spin"><circle cx="8" cy="8" r="6.2" opacity=".28"/><path d="M8 1.8A6.2 6.2 0 0 1 14.2 8"/></g>"#
        }
        "wait" => {
            r#"<circle class="f" cx="3" cy="8" r="1.5"/><circle class="f" cx="8" cy="8" r="1.5"/><circle class="f" cx="13" cy="8" r="1.5"/>"#
        }
        "never" => r#"<circle cx="8" cy="8" r="6.2"/><path d="M5 8h6"/>"#,
        "pause" => r#"<circle cx="8" cy="8" r="6.2"/><path d="M6.4 5.8v4.4M9.6 5.8v4.4"/>"#,
        "skip" => r#"<path d="m3 4 4 4-4 4m6-8 4 4-4 4"/>"#,
        "expired" => r#"<path d="M4 1.8h8M4 14.2h8M4.8 2v2.4L8 8l3.2-3.6V2M4.8 14v-2.4L8 8l3.2 3.6V14"/>"#,
        "shield" => {
            r#"<path class="f" d="M8 .9 14 3v4.6c0 3.6-2.5 6.2-6 7.5-3.5-1.3-6-3.9-6-7.5V3z"/><path class="k" d="m5.2 7.9 2 2 3.6-3.8"/>"#
        }
        "lock" => {
            r#"<rect x="3" y="7" width="10" height="7.2" rx="1.6"/><path d="M5.2 7V4.8a2.8 2.8 0 0 1 5.6 0V7"/>"#
        }
        "daily" => r#"<circle class="f" cx="8" cy="8" r="5.5"/>"#,
        "weekly" => r#"<path class="f" d="m8 1 7 7-7 7-7-7z"/>"#,
        "monthly" => r#"<rect class="f" x="2.5" y="2.5" width="11" height="11" rx="1"/>"#,
        "manual" => r#"<path class="f" d="M8 2 15 14H1z"/>"#,
        "home" => {
            r#"<path d="M2 7.4 8 2.2l6 5.2v6a.8.8 0 0 1-.8.8h-3.4V9.8H6.2v4.4H2.8a.8.8 0 0 1-.8-.8z"/>"#
        }
        "box" => {
            r#"<rect x="1.8" y="2.4" width="12.4" height="3.6" rx="1"/><path d="M3 6v6.6a1 1 0 0 0 1 1h8a1 1 0 0 0 1-1V6M6.4 8.8h3.2"/>"#
        }
        "series" => r#"<path d="M2 12.8 6 8l3 2.6 5-6.8"/><path d="M10.6 3.6H14V7"/>"#,
        "runs" => r#"<path d="M2 3.6h12M2 8h8M2 12.4h10"/>"#,
        "table" => {
            r#"<rect x="1.8" y="2.6" width="12.4" height="10.8" rx="1.4"/><path d="M1.8 6.4h12.4M6.4 6.4v7"/>"#
        }
        "bell" => {
            r#"<path d="M4 6.6a4 4 0 0 1 8 0c0 3.4 1.6 4.4 1.6 4.4H2.4S4 10 4 6.6M6.6 13.4a1.5 1.5 0 0 0 2.8 0"/>"#
        }
        "log" => r#"<path d="M3.4 1.8h6L12.6 5v9.2H3.4zM9.2 1.8V5h3.4M5.8 8h4.4M5.8 10.8h4.4"/>"#,
        "down" => r#"<path d="M8 2v8.4M4.4 7 8 10.6 11.6 7M2.6 13.8h10.8"/>"#,
        "trash" => r#"<path d="M2.6 4.2h10.8M6 4V2.4h4V4M4 4.4l.6 9.4h6.8l.6-9.4M6.7 7v4.2M9.3 7v4.2"/>"#,
        "play" => r#"<path class="f" d="M4.4 2.4v11.2L13.4 8z"/>"#,
        "chev" => r#"<path d="m6 3 5 5-5 5"/>"#,
        "sortd" => r#"<path d="M8 2.5v11m0 0 4-4m-4 4-4-4"/>"#,
        "sort" => r#"<path d="m4.5 6 3.5-3.5L11.5 6m-7 4 3.5 3.5 3.5-3.5"/>"#,
        "copy" => {
            r#"<rect x="5.4" y="5.4" width="8.4" height="8.4" rx="1.4"/><path d="M10.6 5.2V3.4A1.2 1.2 0 0 0 9.4 2.2h-6a1.2 1.2 0 0 0-1.2 1.2v6a1.2 1.2 0 0 0 1.2 1.2h1.8"/>"#
        }
        "theme" => r#"<circle cx="8" cy="8" r="6"/><path class="f" d="M8 2a6 6 0 0 1 0 12z"/>"#,
        "eye" => {
            r#"<path d="M1.4 8S3.8 3.6 8 3.6 14.6 8 14.6 8 12.2 12.4 8 12.4 1.4 8 1.4 8"/><circle cx="8" cy="8" r="2"/>"#
        }
        "info" => r#"<circle cx="8" cy="8" r="6.4"/><path d="M8 7.2v4M8 4.8v.1"/>"#,
        "pin" => r#"<path d="M5.4 2h5.2l-.8 4.4 2.4 2.4H3.8l2.4-2.4zM8 9v5"/>"#,
        "phone" => {
            r#"<path d="M3 2.4h2.6L7 5.8 5.4 7a8 8 0 0 0 3.6 3.6L10.2 9l3.4 1.4V13a.8.8 0 0 1-.9.8C7 13.3 2.7 9 2.2 3.3A.8.8 0 0 1 3 2.4"/>"#
        }
        "db" => {
            r#"<ellipse cx="8" cy="3.8" rx="5.6" ry="2"/><path d="M2.4 3.8v8.4c0 1.1 2.5 2 5.6 2s5.6-.9 5.6-2V3.8M2.4 8c0 1.1 2.5 2 5.6 2s5.6-.9 5.6-2"/>"#
        }
        "more" => {
            r#"<circle class="f" cx="3.4" cy="8" r="1.3"/><circle class="f" cx="8" cy="8" r="1.3"/><circle class="f" cx="12.6" cy="8" r="1.3"/>"#
        }
        "sorta" => r#"<path d="M8 13.5v-11m0 0 4 4m-4-4-4 4"/>"#,
        "plus" => r#"<path d="M8 3v10M3 8h10"/>"#,
        "stop" => r#"<rect class="f" x="4" y="4" width="8" height="8" rx="1"/>"#,
        "out" => r#"<path d="M9.5 2.5h-6v11h6M6.5 8h7m0 0-3-3m3 3-3 3"/>"#,
        _ => "",
    }
}

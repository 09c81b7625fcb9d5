//! Manual pages: one of section 1 for each command, one of section 5 for the configuration file.

use super::args::shown;
use crate::base::setting::Section;
use clap_mangen::Man;
use std::io::{self, Write};
use std::path::Path;

/// Writes all pages into a directory, which is made if it is not there. How many there are.
///
/// # Errors
/// When the directory or a file in it cannot be written.
pub(super) fn write(directory: &Path, sections: &[&Section]) -> io::Result<usize> {
    std::fs::create_dir_all(directory)?;
    let mut count = 0;
    for (name, bytes) in pages()? {
        std::fs::write(directory.join(format!("{name}.1")), bytes)?;
        count += 1;
    }
    std::fs::write(directory.join("dumpvault.toml.5"), configuration(sections)?)?;
    Ok(count + 1)
}

/// The pages of all commands, by name.
fn pages() -> io::Result<Vec<(String, Vec<u8>)>> {
    let mut pages = Vec::new();
    let mut left = vec![("dumpvault".to_owned(), shown())];
    while let Some((name, command)) = left.pop() {
        for one in visible(&command) {
            left.push((format!("{name}-{}", one.get_name()), own(one.clone())));
        }
        pages.push((name.clone(), page(&name, command.display_name(name.clone()))?));
    }
    pages.sort();
    Ok(pages)
}

/// The commands below it that a person is shown.
pub(super) fn visible(command: &clap::Command) -> impl Iterator<Item = &clap::Command> {
    command.get_subcommands().filter(|one| !one.is_hide_set() && one.get_name() != "help")
}

/// The command without the options that go with every command.
pub(super) fn own(command: clap::Command) -> clap::Command {
    command.mut_args(|arg| {
        let is_for_all = arg.is_global_set() || matches!(arg.get_id().as_str(), "help" | "version");
        arg.hide(is_for_all)
    })
}

fn page(name: &str, command: clap::Command) -> io::Result<Vec<u8>> {
    let notes = command.get_after_long_help().map(ToString::to_string).unwrap_or_default();
    let has_subcommands = visible(&command).next().is_some();
    let man = Man::new(command).title(name).section("1").manual("dumpvault");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if has_subcommands {
        man.render_subcommands_section(&mut page)?;
    }
    if !notes.is_empty() {
        // Its lines are broken where they should be.
        writeln!(page, ".SH NOTES\n.nf")?;
        for line in notes.lines() {
            writeln!(page, "{}", escaped(line))?;
        }
        writeln!(page, ".fi")?;
    }
    if name != "dumpvault" {
        writeln!(
            page,
            ".SH SEE ALSO\nGlobal options and exit codes: \\fBdumpvault\\fR(1). Settings: \\fBdumpvault.toml\\fR(5)."
        )?;
    }
    Ok(page)
}

/// The page of the configuration file.
fn configuration(sections: &[&Section]) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    writeln!(page, ".TH DUMPVAULT.TOML 5 \"\" \"\" dumpvault")?;
    writeln!(page, ".SH NAME\ndumpvault.toml \\- configuration of dumpvault(1)")?;
    writeln!(page, ".SH DESCRIPTION")?;
    writeln!(
        page,
        "The first of these files that exists is read: \\fI./dumpvault.toml\\fR, \
         \\fI$XDG_CONFIG_HOME/dumpvault/config.toml\\fR, \\fI/etc/dumpvault/config.toml\\fR; or the one that \
         \\fB\\-\\-config\\fR or DUMPVAULT_CONFIG names. It is written in TOML. Only its owner and root may be able to \
         write to it. Options override the environment, and the environment overrides the file. \
         \\fBdumpvault config check\\fR lists all errors in it."
    )?;
    for section in sections {
        let title = match (section.name, section.which) {
            ("", _) => "SETTINGS OUTSIDE OF TABLES".to_owned(),
            (name, "") => format!("[{name}]"),
            (name, which) => format!("[{name}] {}", which.replace('`', "")),
        };
        writeln!(page, ".SH \"{}\"\n{}", escaped(&title).replace('"', "\\(dq"), escaped(section.about))?;
        for entry in section.keys.iter().map(|key| key.entry()).filter(|entry| entry.in_file) {
            writeln!(page, ".TP\n\\fB{}\\fR = {}", escaped(entry.name), escaped(entry.example))?;
            writeln!(page, "{}", escaped(entry.about))?;
            if let Some(default) = entry.default.filter(|default| !default.is_empty()) {
                writeln!(page, "Default: {}.", escaped(default))?;
            }
            for also in entry.flag.iter().chain(&entry.variable) {
                writeln!(page, "Also \\fB{}\\fR.", escaped(also))?;
            }
        }
    }
    writeln!(page, ".SH SEE ALSO\n\\fBdumpvault\\fR(1)")?;
    Ok(page)
}

/// Text as roff reads it: nothing in it is a request.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('`', "\\(ga").replace('…', "...");
    let begins = text.starts_with(['.', '\'']);
    if begins { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::app::sections;
    use std::process::Command;

    #[test]
    fn every_command_has_a_page_and_groff_warns_of_none() {
        let directory = tempfile::tempdir().unwrap();
        let count = write(directory.path(), &sections()).unwrap();
        assert!(count > 40, "{count}");
        for entry in std::fs::read_dir(directory.path()).unwrap() {
            let path = entry.unwrap().path();
            let mut groff = Command::new("groff");
            let output =
                groff.args(["-man", "-ww", "-z", "-Tutf8", "-K", "utf8"]).arg(&path).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success() && said.is_empty(), "{}: {said}", path.display());
        }
    }
}

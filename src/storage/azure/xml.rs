//! As much of XML as the service's answers need.

/// The inside of the next element of that name, and what comes behind it. Elements of the service's answers that are
/// asked for hold none of their own name, no comments and no CDATA, so that the next end is theirs.
pub(super) fn element<'a>(text: &'a str, name: &str) -> Option<(&'a str, &'a str)> {
    let mut rest = text;
    loop {
        let (_, behind) = rest.split_once(&format!("<{name}"))?;
        // Not `<Blobs>` where `<Blob>` is asked for; attributes may follow.
        if !behind.starts_with(['>', ' ', '/']) {
            rest = behind;
            continue;
        }
        let (attributes, behind) = behind.split_once('>')?;
        if attributes.ends_with('/') {
            return Some(("", behind));
        }
        return behind.split_once(&format!("</{name}>"));
    }
}

/// The text of the first element of that name.
pub(super) fn text_of(text: &str, name: &str) -> Option<String> {
    let (inside, _) = element(text, name)?;
    let plain =
        inside.replace("&lt;", "<").replace("&gt;", ">").replace("&quot;", "\"").replace("&apos;", "'");
    Some(plain.replace("&amp;", "&"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_found_by_their_whole_name_and_entities_are_plain_text() {
        let text = "<Blobs><Blob x=\"1\">a&amp;lt;</Blob><Blob/></Blobs><Blob>b</Blob>";
        let (first, rest) = element(text, "Blob").unwrap();
        assert_eq!(first, "a&amp;lt;");
        assert_eq!(element(rest, "Blob").unwrap().0, "");
        assert_eq!(text_of(text, "Blob").unwrap(), "a&lt;");
        assert_eq!(text_of("<Blob>a", "Blob"), None);
    }
}

//! What an object has besides its bytes, to and from headers.

use crate::base::objects::Facts;
use aws_sdk_s3::operation::create_multipart_upload::builders::CreateMultipartUploadFluentBuilder;
use aws_sdk_s3::operation::get_object::GetObjectOutput;
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_smithy_types::date_time::{DateTime, Format};
use std::collections::HashMap;

/// What an answer says.
pub(super) fn facts_of(answer: &GetObjectOutput) -> Facts {
    let text = |found: Option<&str>| found.map(str::to_owned);
    let mut metadata: Vec<(String, String)> =
        answer.metadata().into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())).collect();
    metadata.sort();
    Facts {
        content_type: text(answer.content_type()),
        content_encoding: text(answer.content_encoding()),
        content_disposition: text(answer.content_disposition()),
        content_language: text(answer.content_language()),
        cache_control: text(answer.cache_control()),
        expires: text(answer.expires_string()),
        redirect: text(answer.website_redirect_location()),
        class: answer
            .storage_class()
            .map(|class| class.as_str().to_owned())
            .filter(|class| class != "STANDARD"),
        metadata: (!metadata.is_empty()).then_some(metadata),
        tags: None,
    }
}

/// What an object is put with. Its storage class is for the bucket to choose.
pub(super) struct Headers<'a> {
    facts: &'a Facts,
    metadata: Option<HashMap<String, String>>,
    tags: Option<String>,
    expires: Option<DateTime>,
}

impl<'a> Headers<'a> {
    pub(super) fn of(facts: &'a Facts) -> Self {
        let pairs = |found: &Option<Vec<(String, String)>>| found.clone().filter(|found| !found.is_empty());
        let expires = facts.expires.as_deref();
        Self {
            facts,
            metadata: pairs(&facts.metadata).map(|found| found.into_iter().collect()),
            tags: pairs(&facts.tags).map(|tags| {
                let each = tags.iter().map(|(name, value)| format!("{}={}", escaped(name), escaped(value)));
                each.collect::<Vec<_>>().join("&")
            }),
            expires: expires.and_then(|text| DateTime::from_str(text, Format::HttpDate).ok()),
        }
    }
}

macro_rules! with_headers {
    ($($function:ident: $builder:ty;)*) => {
        impl Headers<'_> {
            $(pub(super) fn $function(&self, request: $builder) -> $builder {
                let facts = self.facts;
                request
                    .set_content_type(facts.content_type.clone())
                    .set_content_encoding(facts.content_encoding.clone())
                    .set_content_disposition(facts.content_disposition.clone())
                    .set_content_language(facts.content_language.clone())
                    .set_cache_control(facts.cache_control.clone())
                    .set_expires(self.expires)
                    .set_website_redirect_location(facts.redirect.clone())
                    .set_metadata(self.metadata.clone())
                    .set_tagging(self.tags.clone())
            })*
        }
    };
}

with_headers! {
    on_put: PutObjectFluentBuilder;
    on_parts: CreateMultipartUploadFluentBuilder;
}

/// A name or value as a query has it.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            byte => out.push_str(&format!("%{byte:02X}")),
        }
    }
    out
}

//! Mail.

use super::super::message::Message;
use super::{SendError, read, text};
use crate::settings::{Environment, MailTls, Way};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{SmtpTransport, Transport};

fn words(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}

fn tls(way: &Way, environment: &Environment) -> Result<Tls, SendError> {
    let Way::Email { host, tls, ca_file, .. } = way else { return Ok(Tls::None) };
    if *tls == MailTls::None {
        return Ok(Tls::None);
    }
    let mut parameters = TlsParameters::builder(host.clone());
    if let Some(path) = ca_file {
        let path = environment.file(path);
        let bad = |why: String| SendError::permanent(format!("certificates {}: {why}", path.display()));
        let pem = std::fs::read(&path).map_err(|error| bad(error.to_string()))?;
        parameters =
            parameters.add_root_certificate(Certificate::from_pem(&pem).map_err(|error| bad(words(&error)))?);
    }
    let parameters = parameters.build_rustls().map_err(|error| SendError::permanent(words(&error)))?;
    Ok(match tls {
        MailTls::Implicit => Tls::Wrapper(parameters),
        // Nothing is sent to a server that does not offer it.
        _ => Tls::Required(parameters),
    })
}

pub(super) fn send(
    way: &Way,
    message: &Message,
    id: &str,
    environment: &Environment,
) -> Result<(), SendError> {
    let Way::Email { host, port, tls: how, login, from, to, timeout, .. } = way else { return Ok(()) };
    let mailbox = |text: &str| {
        text.parse::<Mailbox>()
            .map_err(|error| SendError::permanent(format!("`{text}` is not a mail address: {error}")))
    };
    // What a name of a host may hold a Message-ID may hold, too.
    let own: String =
        message.host.chars().filter(|c| c.is_ascii_alphanumeric() || ".-".contains(*c)).collect();
    let own = if own.is_empty() { "localhost".to_owned() } else { own };
    let mut mail = lettre::Message::builder()
        .from(mailbox(from)?)
        .subject(message.title.replace(['\r', '\n'], " "))
        .message_id(Some(format!("<{id}@{own}>")));
    if !message.incident.is_empty() {
        mail = mail.references(format!("<{}@{own}>", message.incident));
    }
    for recipient in to {
        mail = mail.to(mailbox(recipient)?);
    }
    let mail = mail
        .multipart(MultiPart::alternative_plain_html(message.text(), message.page()))
        .map_err(|error| SendError::permanent(words(&error)))?;
    let usual = match how {
        MailTls::StartTls => 587,
        MailTls::Implicit => 465,
        MailTls::None => 25,
    };
    let mut transport = SmtpTransport::builder_dangerous(host.as_str())
        .port(port.unwrap_or(usual))
        .tls(tls(way, environment)?)
        .timeout(Some(*timeout))
        .hello_name(ClientId::Domain(own));
    if let Some((user, password)) = login {
        let password = read(password, environment)?;
        transport = transport.credentials(Credentials::new(user.clone(), text(&password)));
    }
    let sent = transport.build().send(&mail);
    sent.map(drop).map_err(|error| {
        let reason = format!("mail server {host}: {}", words(&error));
        if error.is_permanent() { SendError::permanent(reason) } else { SendError::new(reason) }
    })
}

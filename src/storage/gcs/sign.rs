//! What a service account signs to get a token: a claim in JSON, signed by its RSA key (RFC 7523, RS256).

use std::time::{Duration, SystemTime};

use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs1KeyDer, PrivatePkcs8KeyDer};
use serde_json::json;

/// How long a claim holds: the most that the service takes.
const LASTS: Duration = Duration::from_secs(3600);

/// A service account's key. Never shown.
pub(super) struct Signer {
    email: String,
    key_id: String,
    key: RsaKeyPair,
}

impl Signer {
    /// # Errors
    /// When the key cannot be read, in words that do not repeat it.
    pub(super) fn new(email: &str, key_id: &str, pem: &str) -> Result<Self, String> {
        let key =
            PrivateKeyDer::from_pem_slice(pem.as_bytes()).map_err(|_| "its `private_key` is not PEM")?;
        let key = match &key {
            PrivateKeyDer::Pkcs8(key) => RsaKeyPair::from_pkcs8(PrivatePkcs8KeyDer::secret_pkcs8_der(key)),
            PrivateKeyDer::Pkcs1(key) => RsaKeyPair::from_der(PrivatePkcs1KeyDer::secret_pkcs1_der(key)),
            _ => return Err("its `private_key` is not an RSA key".to_owned()),
        };
        let key = key.map_err(|error| format!("its `private_key` cannot be used: {error}"))?;
        Ok(Self { email: email.to_owned(), key_id: key_id.to_owned(), key })
    }

    /// A claim to `scope`, for who gives tokens at `audience`.
    ///
    /// # Errors
    /// When it cannot be signed.
    pub(super) fn claim(&self, scope: &str, audience: &str, now: SystemTime) -> Result<String, String> {
        let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let head = json!({ "alg": "RS256", "typ": "JWT", "kid": self.key_id });
        let claims = json!({
            "iss": self.email,
            "scope": scope,
            "aud": audience,
            "iat": now,
            "exp": now + LASTS.as_secs(),
        });
        let text = format!("{}.{}", url_base64(head.to_string()), url_base64(claims.to_string()));
        let mut signature = vec![0; self.key.public().modulus_len()];
        let signed = self.key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), text.as_bytes(), &mut signature);
        signed.map_err(|_| "the service account's key cannot sign".to_owned())?;
        Ok(format!("{text}.{}", url_base64(signature)))
    }
}

/// Base64 with the letters of addresses and without padding.
fn url_base64(bytes: impl AsRef<[u8]>) -> String {
    aws_smithy_types::base64::encode(bytes)
        .replace('+', "-")
        .replace('/', "_")
        .trim_end_matches('=')
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_none_is_not_repeated() {
        let bad = "-----BEGIN PRIVATE KEY-----\nhunter2\n-----END PRIVATE KEY-----\n";
        assert!(!Signer::new("a", "k", bad).err().unwrap().contains("hunter2"));
        assert!(!Signer::new("a", "k", "hunter2").err().unwrap().contains("hunter2"));
    }
}

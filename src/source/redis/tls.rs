//! TLS to a server: the machine's certificates, or the owner's own.

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Files with certificates, in PEM.
#[derive(Debug, Clone, Default)]
pub(super) struct Certificates {
    /// Who may vouch for the server, in the place of those that the machine trusts.
    pub ca: Option<PathBuf>,
    /// Who we are, and the key that proves it.
    pub own: Option<(PathBuf, PathBuf)>,
}

/// A connection inside TLS.
pub(super) struct Secure(StreamOwned<ClientConnection, TcpStream>);

impl Certificates {
    /// Shakes hands, within the time limits that `socket` has.
    pub(super) fn secure(&self, host: &str, mut socket: TcpStream) -> Result<Secure, String> {
        let name = ServerName::try_from(host.to_owned()).map_err(|error| error.to_string())?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| error.to_string())?
            .with_root_certificates(self.roots()?);
        let config = match &self.own {
            None => config.with_no_client_auth(),
            Some((certificate, key)) => {
                let chain = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| in_file(key, &error))?;
                config.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
            }
        };
        let mut connection =
            ClientConnection::new(Arc::new(config), name).map_err(|error| error.to_string())?;
        while connection.is_handshaking() {
            connection.complete_io(&mut socket).map_err(|error| error.to_string())?;
        }
        Ok(Secure(StreamOwned::new(connection, socket)))
    }

    fn roots(&self) -> Result<RootCertStore, String> {
        let mut roots = RootCertStore::empty();
        match &self.ca {
            Some(path) => {
                for certificate in certificates(path)? {
                    roots.add(certificate).map_err(|error| in_file(path, &error))?;
                }
            }
            None => {
                roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            }
        }
        Ok(roots)
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, String> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| in_file(path, &error))?;
    found.map(|one| one.map_err(|error| in_file(path, &error))).collect()
}

fn in_file(path: &Path, error: &dyn std::fmt::Display) -> String {
    format!("`{}`: {error}", path.display())
}

impl Secure {
    pub(super) fn socket(&self) -> &TcpStream {
        &self.0.sock
    }
}

impl Read for Secure {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.0.read(buffer) {
            // Closed without a farewell, as servers do that end: whether the data had ended is told by the data.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(0),
            outcome => outcome,
        }
    }
}

impl Write for Secure {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

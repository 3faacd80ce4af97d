//! Errors as Python exceptions, whose classes are defined in `feast_rs.errors`.

use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyType;

use crate::error::{Error, ErrorKind};

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        Python::attach(|py| match class(py, error.kind()) {
            Ok(class) => PyErr::from_type(class.clone(), error.to_string()),
            Err(import) => import,
        })
    }
}

fn class(py: Python<'_>, kind: ErrorKind) -> PyResult<&Bound<'_, PyType>> {
    macro_rules! lookup {
        ($name:literal) => {{
            static CLASS: PyOnceLock<Py<PyType>> = PyOnceLock::new();
            CLASS.import(py, "feast_rs.errors", $name)
        }};
    }
    match kind {
        ErrorKind::Config => lookup!("ConfigError"),
        // A signal's own exception is raised in place of what it interrupted.
        ErrorKind::Connection | ErrorKind::Interrupted => lookup!("ConnectionError"),
        ErrorKind::Timeout => lookup!("TimeoutError"),
        ErrorKind::Server => lookup!("ServerError"),
        ErrorKind::Protocol => lookup!("ProtocolError"),
        ErrorKind::Decode => lookup!("DecodeError"),
        ErrorKind::Encode => lookup!("EncodeError"),
        ErrorKind::EntityKey => lookup!("EntityKeyError"),
        ErrorKind::Argument => lookup!("ArgumentError"),
    }
}

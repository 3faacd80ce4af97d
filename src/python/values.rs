//! Placeholder until the value branch brings the real one.
use crate::features::Cells;
use crate::value::FeastType;
use pyo3::prelude::*;
use pyo3::types::PyList;
#[derive(Clone, Copy)]
pub struct Hint;
impl Hint {
    pub fn of(_: &FeastType) -> Self {
        Self
    }
}
pub fn cells_to_list<'py>(
    py: Python<'py>,
    cells: Cells<'_>,
    _hint: Hint,
    _failed: impl Fn(usize, &dyn std::fmt::Display) -> PyErr,
) -> PyResult<Bound<'py, PyList>> {
    let value = py
        .import("feast.protos.feast.types.Value_pb2")?
        .getattr("Value")?;
    let convert = py
        .import("feast.type_map")?
        .getattr("feast_value_type_to_python_type")?;
    let items = cells
        .map(|cell| {
            convert.call1((value.call_method1(
                "FromString",
                (pyo3::types::PyBytes::new(py, cell.unwrap_or_default()),),
            )?,))
        })
        .collect::<PyResult<Vec<_>>>()?;
    PyList::new(py, items)
}

#![allow(missing_docs, clippy::pedantic)]
use arrow_array::ArrayRef;
#[derive(Clone, Debug, PartialEq)]
pub enum FeastType {
    Bytes,
    String,
    Int32,
    Int64,
    UnixTimestamp,
    Double,
}
#[derive(Debug)]
pub struct CellError {
    pub index: usize,
}
impl std::fmt::Display for CellError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "x")
    }
}
pub struct ColumnDecoder;
impl ColumnDecoder {
    pub fn new(_: &FeastType, _: usize) -> Self {
        Self
    }
    pub fn extend<'a>(
        &mut self,
        _cells: impl Iterator<Item = Option<&'a [u8]>>,
    ) -> Result<(), CellError> {
        Ok(())
    }
    pub fn finish(self) -> ArrayRef {
        todo!()
    }
}
pub trait MatrixFloat: Copy {}
impl MatrixFloat for f32 {}
impl MatrixFloat for f64 {}
pub fn fill_column<'a, T: MatrixFloat>(
    _: impl Iterator<Item = Option<&'a [u8]>>,
    _: &mut [T],
    _: usize,
    _: usize,
    _: T,
) -> Result<(), CellError> {
    Ok(())
}
pub fn write_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

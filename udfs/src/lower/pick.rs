//! Constants picked by an index that depends on the row.

use super::value::{scalars, Rows};
use super::Value;
use crate::error::{unsupported, Result};
use crate::kernels::pick;
use crate::onnx::Tensor;
use crate::program::{Builder, Kind, Operand};

/// Gather along the first dimension.
pub fn gather(
    data: &Tensor,
    indices: &Rows,
    axis: i64,
    builder: &mut Builder,
) -> Result<Vec<Value>> {
    let Some((size, rest)) = data
        .dims
        .split_first()
        .filter(|_| axis == 0 || axis == -(data.dims.len() as i64))
    else {
        return unsupported(format!("a Gather of constants along axis {axis}"));
    };
    if indices.kind != Kind::I64 {
        return unsupported("a Gather by something else than integers");
    }
    let values = scalars(data, builder)?;
    let width: usize = rest.iter().product();
    let mut columns = Vec::new();
    let Some(kind) = values.first().map(|value| value.kind()) else {
        return unsupported("a Gather of nothing");
    };
    for index in &indices.columns {
        for place in 0..width {
            let slot = builder.slot(kind)?;
            builder.spend(size.saturating_mul(8))?;
            let column: Vec<_> = values.iter().skip(place).step_by(width).copied().collect();
            builder.push_boxed(pick::kernel(*index, slot, &column));
            columns.push(Operand::Slot(slot));
        }
    }
    let mut dims = indices.dims.clone();
    dims.extend_from_slice(rest);
    Ok(vec![Value::rows(kind, dims, columns, builder)?])
}

/// ArrayFeatureExtractor of a list of constants and one place per row: labels by index. In ONNX [1, N], the rows along the
/// second dimension; exporters make [N] of it at once, which is what is given here.
pub fn by_row(list: &Tensor, places: &Rows, builder: &mut Builder) -> Result<Vec<Value>> {
    if !matches!(list.dims.as_slice(), [_] | [1, _]) || places.columns.len() != 1 {
        return unsupported("an ArrayFeatureExtractor of this form");
    }
    builder.spend(list.data.len().saturating_mul(64))?;
    let list = Tensor::new(vec![list.data.len()], list.data.clone())?;
    let places = Rows {
        kind: places.kind,
        dims: vec![],
        columns: places.columns.clone(),
    };
    gather(&list, &places, 0, builder)
}

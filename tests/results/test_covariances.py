"""Matrices of a column as one array."""

import numpy as np
import pyarrow as pa
import pytest

from streamcal.results import covariances

MATRICES = [[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, None]]]


def table(values, kind=pa.float64(), name="covariance"):  # noqa: B008 - types are constants
    """Make a table of one column of matrices."""
    return pa.table({name: pa.array(values, pa.list_(pa.list_(kind)))})


def test_axes():
    """Row, lag along x, lag along y; a missing number is NaN."""
    stacked = covariances(table(MATRICES))
    assert stacked.shape == (2, 2, 2)
    assert stacked.dtype == np.float64
    assert stacked[0, 1, 0] == 3.0
    np.testing.assert_array_equal(stacked[1], [[5.0, 6.0], [7.0, np.nan]])


def test_different_sizes():
    """Smaller matrices and missing ones are filled up with NaN; order of rows is kept."""
    stacked = covariances(table([[[9.0]], None, MATRICES[0], []]))
    assert stacked.shape == (4, 2, 2)
    np.testing.assert_array_equal(stacked[0], [[9.0, np.nan], [np.nan, np.nan]])
    assert np.isnan(stacked[[1, 3]]).all()
    np.testing.assert_array_equal(stacked[2], MATRICES[0])


def test_numbers_of_pixels():
    """Counts stay integers; what is missing is no pixels."""
    stacked = covariances(table([[[2**53 + 1]], None], pa.int64(), "n_pixels"), "n_pixels")
    assert stacked.dtype == np.int64
    assert stacked.tolist() == [[[2**53 + 1]], [[0]]]


def test_several_chunks_and_slices():
    """Chunks and slices make no difference, and a record batch will do."""
    whole = pa.concat_tables([table(MATRICES), table(MATRICES[::-1])]).slice(1, 2)
    assert covariances(whole)[:, 0, 0].tolist() == [5.0, 5.0]
    assert covariances(table(MATRICES).to_batches()[0]).shape == (2, 2, 2)


def test_no_rows():
    """No rows make an empty array."""
    assert covariances(table([])).shape == (0, 0, 0)


@pytest.mark.parametrize("values", [[[[1.0, 2.0]]], [[[1.0], [2.0, 3.0, 4.0]]]])
def test_not_square(values):
    """A matrix that is not square is an error."""
    with pytest.raises(ValueError, match="matrices of column 'covariance' must be square"):
        covariances(table(values))

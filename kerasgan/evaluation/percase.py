"""Cases measured one by one, with every method's maps in the hand of the measure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping

import numpy as np
import pandas as pd

from kerasgan.evaluation.cases import COLUMNS, Case, Cases, check_maps

__all__ = ["PerCase"]

Measure = Callable[[Case], Iterable[tuple[str, Mapping[str, np.ndarray]]]]


class PerCase(Cases):
    """`Cases` whose measure takes a case alone and gives every method's values.

    For what is found once for all methods, such as regions, and for what needs several maps of a
    method: of altered images, of another network. Arguments, and `table` but for its measure, are
    those of `Cases`.

    Example:
        >>> import tempfile
        >>> import keras
        >>> import kerasgan as kg
        >>> samples = kg.data.synthetic.write_dataset(tempfile.mkdtemp(), count=2, size=32)
        >>> image = keras.Input((32, 32, 3))
        >>> model = keras.Model(image, keras.layers.Conv2D(1, 3, padding="same")(image))
        >>> pixel = kg.explain.targets.Pixel(9, 9)
        >>> cases = PerCase(model, samples, target=pixel, controls=False)
        >>> def measure(case):
        ...     return [(method, {"sum": maps.sum((1, 2))}) for method, maps in cases.maps(case)]
        >>> len(cases.table(measure, verbose=False))
        2
    """

    def maps(self, case: Case) -> Iterator[tuple[str, np.ndarray]]:
        """Give what `Cases.maps` gives, checked: finite and of the shape of the images."""
        for method, maps in super().maps(case):
            check_maps(maps, case.images, method)
            yield method, maps

    def _measured(self, case: Case, measure: Measure) -> pd.DataFrame:
        kinds = self.methods
        rows = [
            (name, method, kinds[method], metric, float(value))
            for method, found in measure(case)
            for metric, values in found.items()
            for name, value in zip(case.names, values)
        ]
        return pd.DataFrame(rows, columns=COLUMNS)

"""`dpnet.model.engine.records` as layouts."""

from amaranth.lib import data

from dpnet.model.engine.records import LAYER


def record_layout(record):
    """All fields of `record`, unsigned."""
    return data.StructLayout(dict(record.fields))


DESCRIPTOR = record_layout(LAYER)
"""The words of `dpnet.model.engine.layout.Descriptor`, as one vector."""

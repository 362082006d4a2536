//! Load forecasts: polars features, linfa models, bands, fall-back.

"""Out again: recordings as xarray and Arrow, as Parquet, CSV and pictures, and in another layout."""

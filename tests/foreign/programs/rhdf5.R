# Rscript rhdf5.R FILE PATH...: each dataset as numbers of 17 digits, or as words. R has no 64-bit integers of its own.
suppressMessages(library(rhdf5))
arguments <- commandArgs(trailingOnly = TRUE)
for (path in arguments[-1]) {
    value <- suppressWarnings(h5read(arguments[1], path, bit64conversion = "double"))
    if (is.character(value)) {
        cat(path, "text", value, "\n")
    } else {
        cat(path, "numbers", sprintf("%.17g", as.numeric(value)), "\n")
    }
}
h5closeAll()

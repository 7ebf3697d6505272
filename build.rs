//! Passes on what PyO3 knows of the interpreter, such as `cfg(Py_GIL_DISABLED)`.

fn main() {
    #[cfg(feature = "python")]
    pyo3_build_config::use_pyo3_cfgs();
}

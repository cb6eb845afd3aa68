//! Peace with Vulkan drivers.

use std::env;

/// Keeps Mesa's device-select layer from printing lines of its own on standard error where there is no desktop to ask. It
/// would only reorder adapters, and `auto` has its own order. Whoever steers that layer by `MESA_VK_DEVICE_SELECT` keeps it.
///
/// To be called first of all, while the process has one thread.
pub(crate) fn hush() {
    if env::var_os("XDG_RUNTIME_DIR").is_none() && env::var_os("MESA_VK_DEVICE_SELECT").is_none() {
        // SAFETY: `main` calls this before anything else, so that no other thread reads the environment meanwhile.
        #[allow(unsafe_code)]
        unsafe {
            env::set_var("NODEVICE_SELECT", "1");
        }
    }
}

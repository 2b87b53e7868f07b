// SPDX-License-Identifier: GPL-2.0

//! Memory models: loom runs the code of `abi` in every order that the barriers in it allow.

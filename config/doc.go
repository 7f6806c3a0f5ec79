// Package config turns flags, environment variables and a file into one
// validated [Config].
//
// # Where a value comes from
//
// A setting is looked up in this order, and the first that gives it wins:
//
//  1. a flag of the command line (--data-dir),
//  2. an environment variable (STARLING_DATA_DIR; an empty one gives nothing),
//  3. the file named by --config or STARLING_CONFIG (data_dir in YAML or TOML),
//  4. the default.
//
// Every value is the same text whichever way it came, so that the four ways
// cannot read it differently.
//
// # Invariants
//
//  1. The table in fields.go is the only list of settings. Flags, variables,
//     keys of the file, [Config.Settings] and docs/configuration.md follow from
//     it or are held equal to it by a test.
//  2. [Load] never returns a Config that breaks a bound of that table.
//  3. Nothing that was given is ignored: an unknown key of the file and an
//     unknown STARLING_ variable are errors that name the nearest known one.
//  4. One call reports every problem that it can see, not the first.
//
// The package is a leaf: it imports no other package of Starling, and no other
// package imports viper.
package config

package cli

// For the tests of inspect --perf-map.
var PerfLines = perfLines

// Package diff pairs the functions and the data of two builds of one image and
// says what changed, with evidence. It decides nothing about emission.
package diff

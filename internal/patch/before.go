package patch

import (
	"errors"
	"fmt"
	"reflect"
)

// Before is what a reviewer needs of one base image: the code that is replaced,
// and what it refers to. Nothing of it reaches a process, so applying never
// looks inside. The code of a site can be proved: its digest is the site's
// pre-image, which is compared with the process before anything is written.
type Before struct {
	Code    []Bytes   `json:"code"`    // by Addr, no overlap: what all sites cover, and functions that are gone
	Places  []Place   `json:"places"`  // by Addr: what that code refers to
	Callers []Callers `json:"callers"` // by Base
}

// Bytes are a run of bytes of the base image.
type Bytes struct {
	Addr uint64 `json:"addr"`
	Data []byte `json:"data"`
}

// Place is an address outside the code that is replaced: what is there has a
// name, or is a constant, of which Data is the beginning.
type Place struct {
	Addr uint64 `json:"addr"`
	Name string `json:"name,omitempty"`
	Data []byte `json:"data,omitempty"`
}

// Callers are the functions of the base image that refer to one: by a call or a
// jump, or by taking its address.
type Callers struct {
	Base  uint64   `json:"base"` // entry of the function
	Names []string `json:"names"`
	More  int      `json:"more"` // how many were left out
}

// Limits of a Before. What would exceed them is not recorded.
const (
	MaxBefore      = MaxManifest // bytes of the member
	MaxPlaces      = 1 << 18
	MaxPlaceData   = 4096
	MaxCallerNames = 64 // per function
)

func memberBefore(i int) string { return fmt.Sprintf("before-%d.json", i) }

// EncodeBefore writes b as Bundle.Before holds it: same content, same bytes.
func EncodeBefore(b *Before) ([]byte, error) {
	if err := b.check(); err != nil {
		return nil, fmt.Errorf("encode code before: %w", err)
	}
	c := Before{Code: present(b.Code), Places: present(b.Places), Callers: present(b.Callers)}
	data, err := encodeJSON(&c)
	if err != nil {
		return nil, fmt.Errorf("encode code before: %w", err)
	}
	return data, nil
}

// DecodeBefore reads what EncodeBefore wrote, and nothing else.
func DecodeBefore(data []byte) (*Before, error) {
	b := &Before{}
	err := decodeJSON(data, b)
	if err == nil {
		err = b.check()
	}
	if err == nil {
		err = sameJSON(data, b)
	}
	if err != nil {
		return nil, fmt.Errorf("decode code before: %w", err)
	}
	return b, nil
}

func (b *Before) check() error {
	switch {
	case len(b.Code) > MaxSites+MaxFunctions:
		return fmt.Errorf("code: %d, more than %d", len(b.Code), MaxSites+MaxFunctions)
	case len(b.Places) > MaxPlaces:
		return fmt.Errorf("places: %d, more than %d", len(b.Places), MaxPlaces)
	case len(b.Callers) > MaxFunctions:
		return fmt.Errorf("callers: %d, more than %d", len(b.Callers), MaxFunctions)
	}
	if err := checkTexts(reflect.ValueOf(b).Elem()); err != nil {
		return err
	}
	end := uint64(0)
	for i, c := range b.Code {
		if len(c.Data) == 0 || c.Addr < end || c.Addr >= MaxAddr || uint64(len(c.Data)) > MaxAddr-c.Addr {
			return fmt.Errorf("code[%d]: %d bytes at %#x: empty, not in order, overlapping or no address", i, len(c.Data), c.Addr)
		}
		end = c.Addr + uint64(len(c.Data))
	}
	for i, p := range b.Places {
		if err := p.check(); err != nil {
			return fmt.Errorf("places[%d].%w", i, err)
		}
		if i > 0 && p.Addr <= b.Places[i-1].Addr {
			return fmt.Errorf("places[%d].addr: %#x is not in order", i, p.Addr)
		}
	}
	for i, c := range b.Callers {
		if len(c.Names) > MaxCallerNames || c.More < 0 || c.Base >= MaxAddr || c.Names == nil {
			return fmt.Errorf("callers[%d]: %d names and %d more at %#x", i, len(c.Names), c.More, c.Base)
		}
		if i > 0 && c.Base <= b.Callers[i-1].Base {
			return fmt.Errorf("callers[%d].base: %#x is not in order", i, c.Base)
		}
	}
	return nil
}

func (p *Place) check() error {
	switch {
	case p.Addr >= MaxAddr:
		return fmt.Errorf("addr: %#x is no address", p.Addr)
	case (p.Name == "") == (len(p.Data) == 0):
		return errors.New("name: either a name or data")
	case len(p.Data) > MaxPlaceData:
		return fmt.Errorf("data: %d bytes, more than %d", len(p.Data), MaxPlaceData)
	}
	return nil
}

// CodeAt is the n bytes of base code at addr, nil when they are not recorded.
func (b *Before) CodeAt(addr, n uint64) []byte {
	for _, c := range b.Code {
		if off := addr - c.Addr; addr >= c.Addr && off <= uint64(len(c.Data)) && n <= uint64(len(c.Data))-off {
			return c.Data[off : off+n : off+n]
		}
	}
	return nil
}

// PlaceAt is the place at addr, nil when there is none.
func (b *Before) PlaceAt(addr uint64) *Place {
	lo, hi := 0, len(b.Places)
	for lo < hi {
		if m := (lo + hi) / 2; b.Places[m].Addr < addr {
			lo = m + 1
		} else {
			hi = m
		}
	}
	if lo < len(b.Places) && b.Places[lo].Addr == addr {
		return &b.Places[lo]
	}
	return nil
}

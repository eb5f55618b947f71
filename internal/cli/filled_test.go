package cli

import (
	"encoding"
	"fmt"
	"hash/crc32"
	"net/netip"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ctwarden/ctwarden/internal/record"
	"github.com/ctwarden/ctwarden/policy"
)

// filled returns a value of payload's type in which every field that
// encoding/json writes is set, so that no omitempty hides one. The values
// follow from the names in the JSON: renaming a Go field changes nothing.
func filled[T any](t *testing.T, name string, payload T) T {
	t.Helper()
	v := reflect.New(reflect.TypeOf(payload)).Elem()
	fill(t, name, v)
	value, ok := reflect.TypeAssert[T](v)
	if !ok {
		t.Fatalf("%T is not a %s", payload, v.Type())
	}
	return value
}

func fill(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	if fillKnown(name, v) {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		fillFields(t, name, v)
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		fill(t, name, v.Elem())
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(t, name+"[0]", v.Index(0))
		fill(t, name+"[1]", v.Index(1))
	case reflect.Array:
		for i := range v.Len() {
			fill(t, fmt.Sprintf("%s[%d]", name, i), v.Index(i))
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
		fill(t, name+".key", key)
		fill(t, name+".value", value)
		v.SetMapIndex(key, value)
	default:
		t.Fatalf("%s: no value for a %s", name, v.Type())
	}
}

// fillKnown sets what is one value in the JSON; it reports whether v is.
func fillKnown(name string, v reflect.Value) bool {
	number := crc32.ChecksumIEEE([]byte(name))
	switch v.Interface().(type) {
	case time.Time:
		v.Set(reflect.ValueOf(time.Date(2026, 11, 20, 19, 0, int(number%60), 500_000_000, time.UTC)))
		return true
	case netip.Addr:
		v.Set(reflect.ValueOf(netip.AddrFrom4([4]byte{192, 0, 2, byte(number)})))
		return true
	case netip.Prefix:
		v.Set(reflect.ValueOf(netip.MustParsePrefix("2001:db8::/64")))
		return true
	case policy.BootTime:
		v.Set(reflect.ValueOf(policy.BootTime(time.Duration(1000+number%9000) * 100 * time.Millisecond)))
		return true
	}
	_, named := reflect.TypeAssert[encoding.TextMarshaler](v)
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(name)
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v.SetInt(1000 + int64(number%9000))
	case reflect.Uint8:
		v.SetUint(1) // most are enumerations, whose 0 is "none"
		if !named {
			v.SetUint(uint64(1 + number%250))
		}
	case reflect.Uint, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(1000 + uint64(number%9000))
	case reflect.Float32, reflect.Float64:
		v.SetFloat(float64(number%9000) + 0.5)
	default:
		return false
	}
	return true
}

// fillFields sets the fields that have a name in the JSON, and those of a type
// that writes its JSON itself.
func fillFields(t *testing.T, name string, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		f := v.Type().Field(i)
		tag, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if !f.IsExported() && !f.Anonymous || tag == "-" {
			continue
		}
		switch {
		case f.Anonymous && tag == "":
			fill(t, name, v.Field(i))
		case tag == "":
			fill(t, name+"."+strings.ToLower(f.Name), v.Field(i))
		default:
			fill(t, name+"."+tag, v.Field(i))
		}
	}
	// A row is written against the time of the first one.
	if s, ok := reflect.TypeAssert[*record.Samples](v.Addr()); ok {
		s.Rows[1].At = s.Rows[0].At.Add(1500 * time.Millisecond)
	}
}

package main

import (
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pprofile"
)

// typed is a value with its kind; numbers are texts, so that none loses a digit.
func typed(value any) any {
	one := func(kind string, value any) any { return map[string]any{kind: value} }
	switch value := value.(type) {
	case nil:
		return one("nil", true)
	case bool:
		return one("bool", value)
	case int64:
		return one("int", strconv.FormatInt(value, 10))
	case int:
		return one("int", strconv.Itoa(value))
	case uint64:
		return one("int", strconv.FormatUint(value, 10))
	case float64:
		return one("double", strconv.FormatFloat(value, 'e', -1, 64))
	case string:
		// Each byte that is cut off from its character becomes U+FFFD on the way out.
		return one("str", value)
	case []byte:
		return one("bytes", hex.EncodeToString(value))
	case pcommon.TraceID:
		return one("id", hex.EncodeToString(value[:]))
	case pcommon.SpanID:
		return one("id", hex.EncodeToString(value[:]))
	case pprofile.ProfileID:
		return one("id", hex.EncodeToString(value[:]))
	case time.Time:
		_, offset := value.Zone()
		return map[string]any{"time": fmt.Sprintf("%d.%09d", value.Unix(), value.Nanosecond()), "offset": offset}
	case time.Duration:
		return one("duration", strconv.FormatInt(value.Nanoseconds(), 10))
	case pcommon.Map:
		pairs := map[string]any{}
		for key, value := range value.All() {
			pairs[key] = typed(value)
		}
		return one("map", pairs)
	case pcommon.Slice:
		elements := []any{}
		for _, element := range value.All() {
			elements = append(elements, typed(element))
		}
		return one("list", elements)
	case pcommon.Value:
		return ofValue(value)
	}
	return reflected(reflect.ValueOf(value))
}

func ofValue(value pcommon.Value) any {
	switch value.Type() {
	case pcommon.ValueTypeStr:
		return typed(value.Str())
	case pcommon.ValueTypeBool:
		return typed(value.Bool())
	case pcommon.ValueTypeInt:
		return typed(value.Int())
	case pcommon.ValueTypeDouble:
		return typed(value.Double())
	case pcommon.ValueTypeMap:
		return typed(value.Map())
	case pcommon.ValueTypeSlice:
		return typed(value.Slice())
	case pcommon.ValueTypeBytes:
		return typed(value.Bytes().AsRaw())
	default:
		return typed(nil)
	}
}

// reflected takes apart lists and maps of whatever kind.
func reflected(value reflect.Value) any {
	switch value.Kind() {
	case reflect.Slice:
		elements := []any{}
		for at := range value.Len() {
			elements = append(elements, typed(value.Index(at).Interface()))
		}
		return map[string]any{"list": elements}
	case reflect.Map:
		pairs := map[string]any{}
		for _, key := range value.MapKeys() {
			pairs[fmt.Sprint(key)] = typed(value.MapIndex(key).Interface())
		}
		return map[string]any{"map": pairs}
	default:
		return map[string]any{"other": value.Type().String()}
	}
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/receiver/filelogreceiver"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer/consumertest"
	"go.opentelemetry.io/collector/pdata/plog"
	"go.opentelemetry.io/collector/receiver/receivertest"
)

// question is a file and the keys of the receiver that reads it.
type question struct {
	Keys map[string]any `json:"keys"`
	// Below the folder of this question.
	Path string `json:"path"`
	Text string `json:"text"`
	// In place of a text that is not UTF-8.
	Bytes []byte `json:"bytes"`
}

// answer has the records in OTLP/JSON, or says that the configuration is refused.
type answer struct {
	Refused string            `json:"refused,omitempty"`
	Records []json.RawMessage `json:"records"`
}

// So long nothing came before the receiver is stopped; longer than its own periods.
const quiet = 1200 * time.Millisecond

// How many receivers run at a time.
const atOnce = 48

func answerAll(in io.Reader, out io.Writer) error {
	var questions []question
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 64<<20)
	for lines.Scan() {
		var one question
		decoder := json.NewDecoder(bytes.NewReader(lines.Bytes()))
		decoder.UseNumber()
		if err := decoder.Decode(&one); err != nil {
			return err
		}
		one.Keys = asYAML(one.Keys).(map[string]any)
		questions = append(questions, one)
	}
	if err := lines.Err(); err != nil {
		return err
	}
	answers, places := make([]answer, len(questions)), make(chan struct{}, atOnce)
	var all sync.WaitGroup
	for at := range questions {
		places <- struct{}{}
		all.Go(func() {
			answers[at] = answered(questions[at])
			<-places
		})
	}
	all.Wait()
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for _, one := range answers {
		if err := encoder.Encode(one); err != nil {
			return err
		}
	}
	return nil
}

// asYAML makes of numbers what YAML makes of them: whole ones are of type int.
func asYAML(value any) any {
	switch of := value.(type) {
	case map[string]any:
		for key, inner := range of {
			of[key] = asYAML(inner)
		}
	case []any:
		for at, inner := range of {
			of[at] = asYAML(inner)
		}
	case json.Number:
		if whole, err := of.Int64(); err == nil {
			return int(whole)
		}
		number, _ := of.Float64()
		return number
	}
	return value
}

func answered(asked question) answer {
	records, err := received(asked)
	if err != nil {
		return answer{Refused: err.Error(), Records: []json.RawMessage{}}
	}
	return answer{Records: records}
}

func received(asked question) ([]json.RawMessage, error) {
	folder, err := os.MkdirTemp("", "podgate-lines-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(folder)
	path := filepath.Join(folder, asked.Path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, err
	}
	if err := os.WriteFile(path, append([]byte(asked.Text), asked.Bytes...), 0o644); err != nil {
		return nil, err
	}
	keys := map[string]any{"include": []any{path}, "start_at": "beginning", "poll_interval": "20ms"}
	for key, value := range asked.Keys {
		keys[key] = value
	}
	factory, sink := filelogreceiver.NewFactory(), new(consumertest.LogsSink)
	config := factory.CreateDefaultConfig()
	if err := confmap.NewFromStringMap(keys).Unmarshal(config); err != nil {
		return nil, err
	}
	if err := confmap.Validate(config); err != nil {
		return nil, err
	}
	made, err := factory.CreateLogs(context.Background(), receivertest.NewNopSettings(factory.Type()), config, sink)
	if err != nil {
		return nil, err
	}
	if err := made.Start(context.Background(), componenttest.NewNopHost()); err != nil {
		return nil, err
	}
	for count, since := 0, time.Now(); time.Since(since) < quiet; time.Sleep(20 * time.Millisecond) {
		if now := sink.LogRecordCount(); now != count {
			count, since = now, time.Now()
		}
	}
	if err := made.Shutdown(context.Background()); err != nil {
		return nil, err
	}
	return written(sink.AllLogs(), folder)
}

// Each record alone in its request, in the order in which they came.
func written(batches []plog.Logs, folder string) ([]json.RawMessage, error) {
	found := []json.RawMessage{}
	for _, batch := range batches {
		for _, resource := range batch.ResourceLogs().All() {
			for _, scope := range resource.ScopeLogs().All() {
				for _, record := range scope.LogRecords().All() {
					alone := plog.NewLogs()
					group := alone.ResourceLogs().AppendEmpty()
					resource.Resource().CopyTo(group.Resource())
					of := group.ScopeLogs().AppendEmpty()
					scope.Scope().CopyTo(of.Scope())
					record.CopyTo(of.LogRecords().AppendEmpty())
					of.LogRecords().At(0).SetObservedTimestamp(0)
					text, err := (&plog.JSONMarshaler{}).MarshalLogs(alone)
					if err != nil {
						return nil, err
					}
					found = append(found, json.RawMessage(strings.ReplaceAll(string(text), folder, "/FOLDER")))
				}
			}
		}
	}
	if len(found) > 100_000 {
		return nil, fmt.Errorf("%d records of one question", len(found))
	}
	return found, nil
}

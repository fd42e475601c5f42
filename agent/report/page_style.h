/*
 * The status page's one style sheet and one script. Both are inline, so that
 * the page is one answer; the policy in its header allows these two by their
 * hash and nothing else. A unit test says when a hash is out of date.
 */
#pragma once

#define PAGE_STYLE                                                                                 \
	":root{color-scheme:light dark;--bg:#f6f7f9;--card:#fff;--ink:#1b2330;--dim:#5c6675;"      \
	"--line:#dfe3e9;--ok:#14793f;--okbg:#e2f4e8;--bad:#b3261e;--badbg:#fde7e5;--warn:#8a5a00;" \
	"--warnbg:#fdf0d5;--idle:#4a5568;--idlebg:#e9ecf1}"                                        \
	"@media(prefers-color-scheme:dark){:root{--bg:#12161c;--card:#1b212a;--ink:#e6eaf0;"       \
	"--dim:#9aa5b4;--line:#2c3542;--ok:#6fd598;--okbg:#163524;--bad:#ff9d94;--badbg:#451d1a;"  \
	"--warn:#f2c46b;--warnbg:#3d2f10;--idle:#b7c0cd;--idlebg:#2a323e}}"                        \
	"*{box-sizing:border-box}"                                                                 \
	"body{margin:0;background:var(--bg);color:var(--ink);font:15px/1.45 system-ui,sans-serif}" \
	"main{max-width:1180px;margin:0 auto;padding:20px 16px 40px}"                              \
	"header{display:flex;flex-wrap:wrap;gap:4px 16px;align-items:baseline;margin-bottom:14px}" \
	"h1{font-size:20px;margin:0}h2{font-size:16px;margin:28px 0 10px}"                         \
	"h3{font-size:15px;margin:0}a{color:inherit}"                                              \
	".dim{color:var(--dim)}.banner{border-radius:10px;padding:14px 18px;font-size:18px;"       \
	"font-weight:600}.banner small{display:block;font-size:14px;font-weight:400}"              \
	".ok{background:var(--okbg);color:var(--ok)}.bad{background:var(--badbg);color:var(--bad)" \
	"}"                                                                                        \
	".warn{background:var(--warnbg);color:var(--warn)}"                                        \
	".idle{background:var(--idlebg);color:var(--idle)}"                                        \
	".cards{display:grid;grid-template-columns:repeat(4,1fr);gap:10px;margin-top:12px}"        \
	".card{background:var(--card);border:1px solid var(--line);border-radius:10px;"            \
	"padding:12px 16px}.cards b{display:block;font-size:24px;line-height:1.2;"                 \
	"font-variant-numeric:tabular-nums}"                                                       \
	".badge{display:inline-block;border-radius:6px;padding:1px 8px;font-size:13px;"            \
	"font-weight:600;white-space:nowrap}"                                                      \
	".violation{border-left:4px solid var(--bad);margin-bottom:10px;overflow-wrap:anywhere}"   \
	".violation p{margin:6px 0 0}.violation .dim{font-size:13px}"                              \
	".violation div{display:flex;flex-wrap:wrap;gap:2px 10px;align-items:baseline}"            \
	"table{width:100%;border-collapse:collapse;background:var(--card);"                        \
	"border:1px solid var(--line);border-radius:10px;border-spacing:0;overflow:hidden}"        \
	"th,td{text-align:left;padding:8px 12px;vertical-align:top}"                               \
	"td.any{overflow-wrap:anywhere;min-width:9em}th{white-space:nowrap;font-size:13px;font-"   \
	"weight:600;"                                                                              \
	"color:var(--dim);border-bottom:1px solid var(--line)}"                                    \
	"tr+tr td{border-top:1px solid var(--line)}"                                               \
	"td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}"                            \
	"td small{display:block;color:var(--dim)}"                                                 \
	"code{font:13px ui-monospace,monospace;white-space:nowrap}time,td.n{white-space:nowrap}"   \
	"ul.list{list-style:none;margin:0;padding:0;display:flex;flex-wrap:wrap;gap:8px}"          \
	"ul.list .badge{white-space:normal;overflow-wrap:anywhere}"                                \
	"footer{margin-top:28px;font-size:13px;color:var(--dim)}"                                  \
	"@media(max-width:720px){.cards{grid-template-columns:repeat(2,1fr)}"                      \
	"table.wide thead{display:none}table.wide,table.wide tbody{display:block;border:0;"        \
	"background:none;border-radius:0}table.wide tr{display:block;background:var(--card);"      \
	"border:1px solid var(--line);border-radius:10px;margin-bottom:10px;padding:8px 12px}"     \
	"table.wide td,table.wide td.n{display:block;padding:2px 0;border:0;text-align:left}"      \
	"table.wide td[data-is]::before{content:attr(data-is)': ';color:var(--dim)}"               \
	"table.wide td small{display:inline;margin-left:6px;overflow-wrap:anywhere}"               \
	"th,td{padding:8px}}"

#define PAGE_STYLE_HASH "sha256-oauM/tSS4wR+X3Q56Q4LIBCsylZmlmhy0xRTpFXogC8="

/* Reads the page again after an event and now and then, and swaps what changed. */
#define PAGE_SCRIPT                                                                          \
	"(function(){'use strict';var timer=0,live=document.getElementById('live');"         \
	"function refresh(){timer=0;if(String(getSelection()))return;"                       \
	"fetch('/',{cache:'no-store'}).then(function(r){if(!r.ok)throw r;return r.text()})"  \
	".then(function(t){var d=new DOMParser().parseFromString(t,'text/html'),"            \
	"n=d.getElementById('body'),o=document.getElementById('body');"                      \
	"if(n&&o)o.replaceWith(n);document.title=d.title;}).catch(function(){})}"            \
	"function soon(){if(!timer)timer=setTimeout(refresh,250)}"                           \
	"function say(t){live.textContent=t}"                                                \
	"var source=new EventSource('/v1/events');"                                          \
	"source.onopen=function(){say('live');soon()};"                                      \
	"source.onerror=function(){say('the agent does not answer: what is shown is old')};" \
	"['violation.opened','violation.resolved','subject.state_changed','resync']"         \
	".forEach(function(n){source.addEventListener(n,soon)});"                            \
	"setInterval(soon,10000)})();"

#define PAGE_SCRIPT_HASH "sha256-NTaWSVND3OgzvytyDws6FoPvBfNXGuKflcMzUAhgQ10="

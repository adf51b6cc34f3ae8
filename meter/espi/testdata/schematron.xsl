<?xml version="1.0" encoding="UTF-8"?>
<!-- Turns a Schematron schema whose contexts are absolute paths, as the
     function-block rules are, into a stylesheet that prints a line for every
     assertion that fails. -->
<xsl:stylesheet version="1.0" xmlns:xsl="http://www.w3.org/1999/XSL/Transform"
    xmlns:out="urn:stylesheet" xmlns:sch="http://purl.oclc.org/dsdl/schematron">
  <xsl:namespace-alias stylesheet-prefix="out" result-prefix="xsl"/>
  <xsl:template match="sch:schema">
    <out:stylesheet version="1.0" xmlns:espi="http://naesb.org/espi" xmlns:atom="http://www.w3.org/2005/Atom">
      <out:output method="text"/>
      <out:template match="/">
        <xsl:apply-templates select="sch:pattern/sch:rule"/>
      </out:template>
    </out:stylesheet>
  </xsl:template>
  <xsl:template match="sch:rule">
    <out:for-each select="{@context}">
      <xsl:apply-templates select="sch:assert"/>
    </out:for-each>
  </xsl:template>
  <xsl:template match="sch:assert">
    <out:if test="not({@test})">
      <out:text><xsl:value-of select="normalize-space(.)"/><xsl:text>&#10;</xsl:text></out:text>
    </out:if>
  </xsl:template>
</xsl:stylesheet>
